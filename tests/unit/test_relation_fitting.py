"""``fit_relations``, and relations in a training of everything."""

import copy

import pytest
import torch
from helpers import arguments, as_row
from tiny import SENTENCES, build_model

from span_marker import SpanMarkerModel, Trainer, fit_relations
from span_marker.training import relation_fitting

ENTITIES = [
    [("PER", 0, 2), ("LOC", 5, 6)],
    [("LOC", 0, 1)],
    [("PER", 0, 3), ("ORG", 5, 7), ("LOC", 8, 9), ("LOC", 10, 11)],
]
GOLD = [[("lives in", 0, 1)], [], [("lives in", 0, 2), ("near", 2, 3), ("near", 3, 2)]]
ROWS = [
    {**as_row(words, entities), "relations": [{"label": label, "head": h, "tail": t} for label, h, t in relations]}
    for words, entities, relations in zip(SENTENCES, ENTITIES, GOLD, strict=False)
]


def weights(model, in_head):
    return {
        name: value.clone() for name, value in model.state_dict().items() if name.startswith("relation_head") == in_head
    }


def entity_model(**options):
    return build_model("bert", reads_tokens=True, entity_max_length=4, **options)


def test_only_the_relation_head_learns():
    model = entity_model()
    before, found = weights(model, in_head=False), model.predict(SENTENCES)
    state = torch.random.get_rng_state()
    losses = fit_relations(model, ROWS, num_epochs=300)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert losses[-1] < losses[0] / 2
    after = weights(model, in_head=False)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert [result["entities"] for result in model.predict(SENTENCES, relations=True)] == found
    assert model.config.relation_labels == ["no relation", "lives in", "near"]
    assert model.card_changes["Relations"].startswith(f"lives in, near: fitted to {len(ROWS)} rows")


def test_the_same_seed_gives_the_same_head():
    models = [entity_model() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        fit_relations(model, ROWS, num_epochs=1, seed=seed)
    first, second, third = (model.relation_head.classifier.weight for model in models)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_head_goes_on_from_where_it_is():
    model = entity_model(relation_labels=["lives in", "near"])
    once = fit_relations(model, ROWS, num_epochs=10)
    assert fit_relations(model, ROWS, num_epochs=1)[0] < once[0]


def test_bad_data_is_refused():
    model = entity_model()
    with pytest.raises(ValueError, match="there are no relations in the relation data"):
        fit_relations(model, [{**row, "relations": []} for row in ROWS])
    with pytest.raises(ValueError, match=r"row 0 of the relation data: relation 0 \('lives in'\) has a label"):
        fit_relations(entity_model(relation_labels=["near"]), ROWS)
    with pytest.raises(ValueError, match="num_epochs=0"):
        fit_relations(model, ROWS, num_epochs=0)
    with pytest.raises(TypeError, match="model must be a SpanMarkerModel, not str"):
        fit_relations("folder", ROWS)
    assert model.relation_head is None


def settings(model):
    return model.config.relation_labels, model.config.symmetric_relations, model.config.relation_types


def test_an_error_leaves_the_model_as_it_was():
    unknown = {**as_row(SENTENCES[0], [("ART", 0, 1)]), "relations": []}
    for model in (entity_model(), entity_model(relation_labels=["lives in", "near"])):
        before, head = settings(model), weights(model, in_head=True)
        with pytest.raises(ValueError, match="'ART' has a label"):
            fit_relations(model, [*ROWS * 20, unknown])
        assert settings(model) == before
        assert weights(model, in_head=True).keys() == head.keys()


class Interrupting:
    """A learning rate that is interrupted after the third step."""

    def __init__(self, *args):
        self.num_steps = 0

    def step(self):
        self.num_steps += 1
        if self.num_steps == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("options", [{}, {"relation_labels": ["lives in", "near"]}])
def test_an_interruption_leaves_the_model_as_it_was(options, monkeypatch):
    monkeypatch.setattr(relation_fitting, "get_linear_schedule_with_warmup", Interrupting)
    model = entity_model(**options)
    model.card_text = "# Card\n\n## Uses\n"
    before, head = settings(model), weights(model, in_head=True)
    with pytest.raises(KeyboardInterrupt):
        fit_relations(model, ROWS * 20)
    assert settings(model) == before
    assert model.card_text == "# Card\n\n## Uses\n"
    after = weights(model, in_head=True)
    assert after.keys() == head.keys()
    assert all(torch.equal(after[name], value) for name, value in head.items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_relations_that_cannot_be_learned_are_refused():
    model = entity_model()
    row = {**ROWS[0], "entities": [ROWS[0]["entities"][0], {**ROWS[0]["entities"][0], "label": "ORG"}]}
    with pytest.raises(ValueError, match="none of the 1 relations of the relation data can be learned: 1 are between"):
        fit_relations(model, [row, ROWS[1]])
    assert model.relation_head is None
    assert settings(model) == (None, None, None)


def test_the_card_counts_the_rows_that_say_something_of_relations():
    model = entity_model()
    fit_relations(model, [*ROWS, {**ROWS[0], "relations": None}], num_epochs=1)
    assert model.card_changes["Relations"].startswith("lives in, near: fitted to 3 rows,")


def trained(tmp_path, rows=ROWS, model=None, **options):
    model = entity_model(relation_labels=["lives in", "near"], candidates_per_word=1) if model is None else model
    trainer = Trainer(model, arguments(tmp_path, learning_rate=1e-3, **options), train_dataset=rows)
    trainer.train()
    return trainer


def test_training_learns_what_relations_join(tmp_path):
    model = trained(tmp_path, ROWS * 20).model
    assert (model.config.symmetric_relations, model.config.relation_types) == (
        ["near"],
        [["PER", "lives in", "LOC"], ["LOC", "near", "LOC"]],
    )
    model.save_pretrained(tmp_path / "model")
    loaded = SpanMarkerModel.from_pretrained(tmp_path / "model")
    assert loaded.config.symmetric_relations == ["near"]
    assert loaded.config.relation_types == model.config.relation_types


def test_batches_know_the_relations_without_direction(tmp_path):
    trainer = trained(tmp_path, ROWS * 20)
    labels = [batch["pair_labels"] for batch in trainer.get_train_dataloader()]
    assert (torch.cat(labels) == 2).sum() == 20  # one for each pair


def test_training_is_repeatable(tmp_path):
    first, second = (weights(trained(tmp_path).model, in_head=True) for _ in range(2))
    assert first
    assert all(torch.equal(second[name], value) for name, value in first.items())
    assert not torch.equal(
        first["relation_head.classifier.weight"],
        weights(trained(tmp_path, seed=2).model, in_head=True)["relation_head.classifier.weight"],
    )


def test_rows_without_relations_leave_the_head_alone(tmp_path, caplog):
    model = entity_model(relation_labels=["lives in", "near"], candidates_per_word=1)
    before = weights(model, in_head=True)
    plain = [{name: row[name] for name in ("tokens", "entities")} for row in ROWS]
    trained(tmp_path, plain, model, weight_decay=0.0)
    assert "3 of the 3 rows of the training data have no value for 'relations'" in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in weights(model, in_head=True).items())
    trained(tmp_path, [*plain, ROWS[0]], model)
    assert not torch.equal(model.relation_head.markers, before["relation_head.markers"])


def test_an_evaluation_has_the_loss_of_relations(tmp_path):
    trainer = trained(tmp_path)
    with_relations = trainer.evaluate(ROWS)["eval_loss"]
    plain = [{name: row[name] for name in ("tokens", "entities")} for row in ROWS]
    assert with_relations > trainer.evaluate(plain)["eval_loss"]


def test_an_adapter_can_keep_the_relation_head(tmp_path):
    peft = pytest.importorskip("peft")
    model = entity_model(relation_labels=["lives in", "near"])
    config = peft.LoraConfig(target_modules=["query", "value"], modules_to_save=["classifier", "relation_head"])
    adapted = peft.get_peft_model(copy.deepcopy(model), config)
    trainer = Trainer(adapted, arguments(tmp_path, learning_rate=1e-2), train_dataset=ROWS)
    trainer.train()
    merged = trainer.model.merge_and_unload()
    assert not torch.equal(merged.relation_head.markers, model.relation_head.markers)
    assert torch.equal(merged.get_input_embeddings().weight, model.get_input_embeddings().weight)
    merged.save_pretrained(tmp_path / "merged")
    loaded = SpanMarkerModel.from_pretrained(tmp_path / "merged")
    assert torch.equal(loaded.relation_head.markers, merged.relation_head.markers)


def test_another_loss_would_leave_relations_out(tmp_path):
    model = entity_model(relation_labels=["lives in", "near"])
    with pytest.raises(ValueError, match="label_smoothing_factor .* a candidate filter or relations"):
        Trainer(model, arguments(tmp_path, label_smoothing_factor=0.1), train_dataset=ROWS)


def test_half_precision_keeps_relations():
    model = entity_model(relation_labels=["lives in", "near"]).to(torch.bfloat16)
    assert fit_relations(model, ROWS, num_epochs=1)[0] > 0
    assert model.relation_head.markers.dtype == torch.bfloat16
