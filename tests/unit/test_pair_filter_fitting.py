"""The pair filter: how it is fitted, which pairs it drops, and what it leaves as it was."""

import copy
import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import arguments, relation_model
from tiny import SENTENCES, build_model

from span_marker import SpanMarkerModel, Trainer, fit_pair_filter, fit_relations, tune_thresholds
from span_marker.compression import shrink
from span_marker.configuration import PairFilterConfig, SpanMarkerConfig
from span_marker.core.relations import is_dropped
from span_marker.data.in_memory import as_dataset
from span_marker.heads import MAX_DISTANCE, PairFilter
from span_marker.prediction.relations import RelationReader
from span_marker.preprocessing.inputs import read_inputs
from span_marker.training.pair_filter_fitting import DEFAULT_RECALL

WORDS = [[f"{word}{number % 7}" for word in words] for number in range(12) for words in SENTENCES]
ROWS = [
    {
        "tokens": words,
        "entities": [{"label": label, "start": place, "end": place + 1} for place, label in enumerate(("PER", "LOC"))],
        "relations": [{"label": "lives in", "head": 0, "tail": 1}],
    }
    for words in WORDS
    if len(words) > 2
]


@pytest.fixture(params=[False, True], ids=["markers", "tokens"])
def model(request):
    return relation_model(reads_tokens=request.param)


def by_place(result):
    """The relations of a sentence: label and score by head and tail."""
    return {(one["head"], one["tail"]): (one["label"], one["score"]) for one in result["relations"]}


def check_subset(filtered, exact):
    """Filtered results are the exact ones, without some of the relations. Returns the share of these that is kept."""
    assert [row["entities"] for row in filtered] == [row["entities"] for row in exact]
    numbers = []
    for few, many in zip(map(by_place, filtered), map(by_place, exact), strict=True):
        for pair, (label, score) in few.items():
            assert many[pair] == (label, pytest.approx(score, abs=1e-5))
        numbers.append((len(few), len(many)))
    return np.divide(*np.sum(numbers, axis=0))


def as_annotated(words, result):
    """What was found in a sentence, as its annotation."""
    entities = [
        {"label": one["label"], "start": one["word_start_index"], "end": one["word_end_index"]}
        for one in result["entities"]
    ]
    relations = [{name: one[name] for name in ("label", "head", "tail")} for one in result["relations"]]
    return {"tokens": words, "entities": entities, "relations": relations}


@pytest.mark.parametrize("max_length", [None, 12], ids=["whole", "windows"])
def test_the_filter_only_drops_relations(max_length):
    model = relation_model(model_max_length=max_length)
    exact, before = model.predict(WORDS, return_coverage=True)
    report = fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    assert model.config.pair_filter.threshold == report.chosen.threshold
    assert model.config.pair_filter.pairs_kept == report.chosen.kept < 1
    assert model.predict(WORDS, exact=True) == exact
    filtered, coverages = model.predict(WORDS, return_coverage=True)
    # Sentences in windows are not among those that the filter was tuned on.
    assert (0.85 if max_length is None else 0.5) < check_subset(filtered, exact) < 1
    assert sum(coverage.num_unlikely_pairs for coverage in coverages) > 10
    assert not any(coverage.num_unlikely_pairs for coverage in before)
    assert all(coverage.is_complete or coverage.num_separate_pairs for coverage in coverages)
    model.config.exact = True
    assert model.predict(WORDS) == exact


@torch.no_grad()
def test_the_filter_drops_what_its_formula_says(model):
    fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    decoder, rules = model.config.decoder(), model.config.relation_rules
    reader = RelationReader(model.score_pairs, decoder, rules)
    inputs = read_inputs(as_dataset(SENTENCES, "test"))[0]
    pieces = model.preprocessor.pieces(inputs, model.preprocessor.encode(inputs))
    features = [piece.features() for piece in pieces]
    batch = model.preprocessor.collator.collate(features)
    found = []

    def find_pairs(*scores):
        found.append(reader.find(batch, *scores))
        return found[0].tokens(batch), found[0].counts

    logits = model.score_pairs(batch, find_pairs)[2].numpy()
    tokens = found[0].tokens(batch)
    states, rows = model.pair_states(batch, tokens, found[0].counts)
    head = copy.deepcopy(model.relation_head.pair_filter).double()
    normal = (states - states.mean(dim=1, keepdim=True)).double()
    normal = normal / (states.double().var(dim=1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = []
    for (first, _, other, _), own in zip(tokens.tolist(), rows, strict=True):
        distance = min(max(other - first, -MAX_DISTANCE), MAX_DISTANCE)
        hidden = head.tokens.weight @ torch.cat([normal[row] for row in own]) + head.tokens.bias
        hidden = hidden + head.distance.weight[distance + MAX_DISTANCE]
        expected.append(float(head.score.weight[0] @ hidden.clamp(min=0) + head.score.bias[0]))
    threshold = model.config.pair_filter.threshold
    far = np.abs(np.array(expected) - threshold) > 1e-4
    assert far.mean() > 0.9
    np.testing.assert_array_equal(
        is_dropped(logits)[far], (expected < np.array(model.config.pair_filter.threshold))[far]
    )
    assert (logits[is_dropped(logits), 0] == 0).all()


def test_thresholds_do_not_bring_dropped_pairs_back(model):
    fit_pair_filter(model, WORDS, WORDS, recall=0.5)
    everything = model.predict(WORDS, exact=True, relation_threshold=0.0)
    filtered, coverages = model.predict(WORDS, relation_threshold=0.0, return_coverage=True)
    numbers = [sum(len(row["relations"]) for row in rows) for rows in (everything, filtered)]
    assert numbers[0] - numbers[1] == sum(coverage.num_unlikely_pairs for coverage in coverages) > 0


def test_the_recall_is_that_of_the_models_own_relations(model):
    exact = model.predict(WORDS)
    report = fit_pair_filter(model, WORDS, WORDS, recall=0.95)
    assert report.num_predictions == sum(len(row["relations"]) for row in exact)
    assert str(report).startswith(f"{report.num_predictions:,} relations of the model among {report.num_scored:,} held")
    assert "pairs kept" in str(report)
    share = check_subset(model.predict(WORDS), exact)
    assert share == pytest.approx(report.chosen.predictions_kept, abs=2 / report.num_predictions)
    assert share > 0.95
    [line] = [line for line in model.generate_model_card().splitlines() if line.startswith("- **Pair filter:** ")]
    assert f"keeps {report.chosen.kept:.2%} of {report.num_scored:,} held-out pairs" in line


def test_the_filter_is_saved_and_loaded(model, tmp_path):
    fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    found = model.predict(WORDS)
    model.save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    assert loaded.config.pair_filter == model.config.pair_filter
    assert loaded.predict(WORDS) == found
    exact = SpanMarkerModel.from_pretrained(tmp_path, exact=True)
    assert exact.predict(WORDS) == model.predict(WORDS, exact=True) != found
    assert list(exact.predict_stream(WORDS, exact=False)) == found


def test_fitting_is_repeatable_and_replaces_the_filter(model):
    state = torch.get_rng_state()
    first = fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    weight, settings = model.relation_head.pair_filter.tokens.weight, model.config.pair_filter
    second = fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    assert torch.equal(torch.get_rng_state(), state)
    # The same operations on tensors of the same shapes: nothing differs, not by a bit.
    assert first == second
    assert settings == model.config.pair_filter
    assert torch.equal(model.relation_head.pair_filter.tokens.weight, weight)
    with torch.inference_mode():
        assert fit_pair_filter(model, WORDS, WORDS, recall=0.9) == first


def test_errors_leave_the_model_as_it_was(model):
    few = [words for words in SENTENCES if len(words) > 3][:1]
    before = copy.deepcopy(model.config.to_dict())
    with pytest.raises(
        ValueError, match=r"finds \d+ relations in the held-out text, but 598 are needed .*a pair filter"
    ):
        fit_pair_filter(model, WORDS, held_out=few, recall=0.995)
    assert model.config.to_dict() == before
    assert model.relation_head.pair_filter is None
    fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    fitted, settings = model.relation_head.pair_filter, model.config.pair_filter
    with pytest.raises(ValueError, match="finds no relations in the text that the pair filter is fitted to"):
        fit_pair_filter(model, [["a"]] * 10)
    with pytest.raises(ValueError, match="finds no relations in the held-out text"):
        fit_pair_filter(model, WORDS, held_out=[["a"]])
    with pytest.raises(ValueError, match=r"recall=1 must be above 0 and below 1"):
        fit_pair_filter(model, WORDS, recall=1)
    assert model.relation_head.pair_filter is fitted
    assert model.config.pair_filter == settings
    with pytest.raises(ValueError, match="the model has no relations"):
        fit_pair_filter(build_model("bert"), WORDS)
    with pytest.raises(TypeError, match="must be a SpanMarkerModel"):
        fit_pair_filter("folder", WORDS)
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        fit_pair_filter(model, WORDS, batch_size=0)
    with pytest.raises(TypeError, match="seed='s' must be"):
        fit_pair_filter(model, WORDS, seed="s")


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"threshold": "high"}, TypeError, "pair_filter.threshold='high' must be a number"),
        ({"threshold": float("nan")}, ValueError, "pair_filter.threshold=nan must be finite"),
        ({"pairs_kept": 2}, ValueError, "pair_filter.pairs_kept=2 must be from 0 to 1"),
        ({"input_size": 0}, ValueError, "pair_filter.input_size=0 must be"),
        ({"recall": None}, TypeError, "pair_filter.recall=None must be a number"),
        ({"depth": 3}, ValueError, "and no keys other than"),
    ],
)
def test_broken_settings_are_refused(model, values, error, message):
    good = {"input_size": 32, "threshold": -1.0, "recall": 0.9, "pairs_kept": 0.5}
    assert PairFilterConfig.from_dict(good).to_dict() == good
    config = model.config.to_dict()
    with pytest.raises(error, match=message):
        SpanMarkerConfig.from_dict({**config, "pair_filter": {**good, **values}})
    with pytest.raises(ValueError, match="needs relation_labels"):
        SpanMarkerConfig.from_dict({**build_model("bert").config.to_dict(), "pair_filter": good})


def test_training_drops_the_filter_and_fits_another(model, tmp_path, caplog):
    fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    model.config.relation_types = "any"
    with caplog.at_level(logging.INFO, "span_marker"):
        Trainer(model, arguments(tmp_path, learning_rate=1e-9), ROWS, eval_dataset=ROWS).train()
    assert "Pair filter, tuned on the evaluation data:" in caplog.text
    assert model.config.pair_filter.recall == DEFAULT_RECALL
    caplog.clear()
    with caplog.at_level(logging.INFO, "span_marker"):
        Trainer(model, arguments(tmp_path), ROWS).train()
    assert "Training fitted none: there is no eval_dataset" in caplog.text
    assert model.config.pair_filter is model.relation_head.pair_filter is None


def test_new_relations_have_no_filter(model):
    fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    fit_relations(model, ROWS, num_epochs=1)
    assert model.config.pair_filter is model.relation_head.pair_filter is None
    fit_pair_filter(model, WORDS, WORDS, recall=0.5)
    model.add_relations(["likes"])
    assert model.config.pair_filter is model.relation_head.pair_filter is None


def test_a_filter_learns_distances_and_tokens():
    """The score depends on each of the four tokens, and on the distance up to a limit, in both directions."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head, states = PairFilter(6), torch.randn(9, 6)
        torch.nn.init.normal_(head.distance.weight)
    rows = torch.tensor([[0, 1, 2, 3]])
    base = head(states, rows, torch.tensor([3]))
    for column, row in itertools.product(range(4), (5, 8)):
        other = rows.clone()
        other[0, column] = row
        assert (head(states, other, torch.tensor([3])) - base).abs() > 1e-6
    assert (head(states, rows, torch.tensor([-3])) - base).abs() > 1e-6
    for sign in (1, -1):
        most, more = (head(states, rows, torch.tensor([sign * far])) for far in (MAX_DISTANCE, 5 * MAX_DISTANCE))
        assert torch.equal(most, more)
        assert (head(states, rows, torch.tensor([sign * (MAX_DISTANCE - 1)])) - most).abs() > 1e-6


def test_changed_thresholds_remove_the_filter(model, caplog):
    fit_pair_filter(model, WORDS, WORDS, recall=0.5)
    kept = copy.deepcopy(model)
    for one in (model, kept):
        one.config.exact = one is kept
    reports = [tune_thresholds(one, ROWS).relations for one in (model, kept)]
    # All pairs are considered, although the filter would drop many.
    assert reports[0].thresholds == pytest.approx(reports[1].thresholds, abs=1e-5)
    assert model.config.pair_filter is model.relation_head.pair_filter is None
    assert "The pair filter is removed, since it was fitted to the relations" in caplog.text
    assert "- **Pair filter:** None" in model.generate_model_card()
    fit_pair_filter(model, WORDS, WORDS, recall=0.5)
    settings = model.config.pair_filter
    tune_thresholds(model, ROWS)  # to what they are
    assert model.config.pair_filter is settings


def test_dropped_pairs_are_no_predictions_in_an_evaluation(model, tmp_path):
    rows = [as_annotated(*row) for row in zip(WORDS, model.predict(WORDS), strict=True)]
    trainer = Trainer(model, arguments(tmp_path), eval_dataset=rows)
    exact = trainer.evaluate()
    fit_pair_filter(model, WORDS, WORDS, recall=0.5)
    model.config.pair_filter = replace(model.config.pair_filter, threshold=1e9)  # drops all pairs
    found = trainer.evaluate(compare_exact=True)
    for name in ("f1", "best_f1", "average_precision", "gold_f1", "gold_best_f1"):
        assert found[f"eval_relation_{name}"] == 0
        assert found[f"eval_exact_relation_{name}"] == pytest.approx(exact[f"eval_relation_{name}"], abs=1e-9)
    assert exact["eval_relation_f1"] == pytest.approx(1, abs=1e-9)


def test_an_adapter_gets_no_filter(tmp_path, caplog):
    peft = pytest.importorskip("peft")
    model = relation_model(reads_tokens=True)
    fit_pair_filter(model, WORDS, WORDS, recall=0.5)
    config = peft.LoraConfig(target_modules=["query"], modules_to_save=["classifier", "relation_head"])
    adapted = peft.get_peft_model(model, config)
    with caplog.at_level(logging.INFO, "span_marker"):
        trainer = Trainer(adapted, arguments(tmp_path), ROWS, eval_dataset=ROWS)
        trainer.train()
    assert "Training fitted none: a pair filter is not saved with the adapter" in caplog.text
    with pytest.raises(ValueError, match=r"fit it to the result of merge_and_unload"):
        fit_pair_filter(adapted, WORDS)
    merged = trainer.model.merge_and_unload()
    assert merged.config.pair_filter is merged.relation_head.pair_filter is None
    fit_pair_filter(merged, WORDS, WORDS, recall=0.9)
    merged.save_pretrained(tmp_path / "merged")
    assert SpanMarkerModel.from_pretrained(tmp_path / "merged").predict(WORDS) == merged.predict(WORDS)


def test_exact_models_do_not_use_their_filter(model, caplog):
    model.config.exact = True
    expected = model.predict(WORDS)
    fit_pair_filter(model, WORDS, WORDS, recall=0.5)
    assert "not used in prediction until you set model.config.exact = False" in caplog.text
    assert model.predict(WORDS) == expected
    model.config.exact = False
    assert model.predict(WORDS) != expected


def test_filters_have_the_numbers_of_their_model():
    model = relation_model(reads_tokens=True).to(torch.bfloat16)
    report = fit_pair_filter(model, WORDS, WORDS, recall=0.9)
    assert model.relation_head.pair_filter.score.weight.dtype == torch.bfloat16
    _, coverages = model.predict(WORDS, return_coverage=True)
    dropped = sum(coverage.num_unlikely_pairs for coverage in coverages)
    assert dropped == pytest.approx(report.num_scored * (1 - report.chosen.kept), rel=0.2)


def test_a_smaller_model_has_no_filter():
    model = relation_model(num_layers=2)
    fit_pair_filter(model, WORDS, WORDS, recall=0.5)
    student = shrink(model, 1)
    assert student.config.pair_filter is student.relation_head.pair_filter is None
    assert model.config.pair_filter is not None
