"""The ablation study with a tiny encoder, and every variant against what its name says."""

import json

import ablations
import numpy as np
import pytest
import torch
from ablations import BASELINE, VARIANTS
from helpers import collate
from studies import read_counts
from tiny import build_model, build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker.preprocessing.data_collator import MODEL_INPUTS

CHANGED_CELLS = {
    "text-sees-markers": ({"text to marker"}, True),
    "no-self-no-partner": ({"marker to itself", "marker to partner"}, False),
    "no-self": ({"marker to itself"}, False),
    "no-partner": ({"marker to partner"}, False),
    "all-markers": ({"marker to other pair"}, True),
}
"""Kinds of cells of the mask that a variant changes, and what it makes of them; all others change none."""

WORDS = [["Cleopatra", "ruled", "Egypt"], ["Paris"]]  # of different length, so that there is padding of both kinds

CORPUS = [
    "Amelia/B-PER Earhart/I-PER flew/O ./O",
    "Paris/B-LOC and/O Tokyo/B-LOC are/O cities/O",
    "Cleopatra/B-PER ruled/O Egypt/B-LOC",
    "The/O quick/O brown/O fox/O",
    "Spain/B-LOC",
    "Leonardo/B-PER da/I-PER Vinci/I-PER painted/O",
]


@pytest.fixture
def folder(tmp_path):
    """An encoder, and data."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer("wordpiece").tokenizer
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    text = "\n\n".join("\n".join(word.replace("/", " ") for word in line.split()) for line in CORPUS)
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text(text + "\n", encoding="utf-8")
    return tmp_path


def study(folder, *arguments):
    paths = ["--encoder", folder / "encoder", "--data", folder, "--results", folder / "new" / "results.json"]
    ablations.main([*map(str, paths), "--sentences", "4", "--test-sentences", "5", *arguments])
    return read_results(folder)


def read_results(folder):
    return json.loads((folder / "new" / "results.json").read_text(encoding="utf-8"))


def new_model(variant=BASELINE, **limits):
    model = build_model("bert", "dense", **{"entity_max_length": 2, **limits})
    torch.manual_seed(0)
    VARIANTS[variant](model)
    return model


def see_inputs(variant):
    """What the encoder of a variant reads."""
    model = build_model("bert", "dense", entity_max_length=2)
    seen = []
    ablations.change_input(model, lambda inputs: seen.append(inputs) or inputs)
    VARIANTS[variant](model)
    score(model)
    return seen[0]


def see_features(model):
    """What the classifier sees of each candidate."""
    seen = []
    model.classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    score(model)
    return seen[0]


def score(model):
    return model.score(collate(model, WORDS))[0]


def loss(model, batch):
    return model(**{name: batch[name] for name in MODEL_INPUTS}).loss


def kind_of_cell(query, key, inputs, row):
    """What a cell of the mask stands for, told from the order of the tokens."""
    if 1 in (inputs.position_ids[row, query], inputs.position_ids[row, key]):
        return "padding"
    if query < inputs.text_len:
        return "text to text" if key < inputs.text_len else "text to marker"
    if key < inputs.text_len:
        return "marker to text"
    if query == key:
        return "marker to itself"
    is_pair = (query - inputs.text_len) // 2 == (key - inputs.text_len) // 2
    return "marker to partner" if is_pair else "marker to other pair"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_mask_changes_in_the_cells_of_the_name_alone(variant):
    before, after = see_inputs(BASELINE), see_inputs(variant)
    kinds, value = CHANGED_CELLS.get(variant, (set(), None))
    batch, length, _ = before.allowed.shape
    for row, query, key in np.ndindex(batch, length, length):
        is_named = kind_of_cell(query, key, before, row) in kinds
        was, now = bool(before.allowed[row, query, key]), bool(after.allowed[row, query, key])
        assert now == (value if is_named else was), (row, query, key)
        assert not is_named or now != was


@pytest.mark.parametrize("variant", VARIANTS)
def test_position_ids_are_random_for_markers_of_one_variant_alone(variant):
    before, after = see_inputs(BASELINE), see_inputs(variant)
    if variant != "random-positions":
        assert torch.equal(after.position_ids, before.position_ids)
        return
    text_len, is_real = before.text_len, before.position_ids != 1
    assert torch.equal(after.position_ids[:, :text_len], before.position_ids[:, :text_len])
    assert torch.equal(after.position_ids != 1, is_real)
    torch.manual_seed(0)
    draws = torch.stack([ablations.random_positions(before).position_ids for _ in range(200)])
    for row, num_tokens in enumerate(is_real[:, :text_len].sum(dim=1).tolist()):
        for marker in text_len + is_real[row, text_len:].nonzero().flatten():
            assert set(draws[:, row, marker].tolist()) == set(range(2, 2 + num_tokens))


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "random-positions"])
def test_scores_depend_on_the_sample_iff_markers_reach_each_other(variant):
    together, alone = (score(new_model(variant, marker_max_length=count)) for count in (128, 1))
    is_equal = torch.allclose(together, alone, atol=1e-4)
    assert is_equal == (variant not in ("text-sees-markers", "all-markers"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_start_marker_is_the_same_for_all_ends_unless_it_sees_its_partner_alone(variant):
    start, _ = see_features(new_model(variant))[:2, :64].split(32, dim=1)  # of Cleopatra, and of Cleopatra ruled
    is_same = torch.allclose(start[0], start[1], atol=1e-5)
    assert is_same == (variant in ("no-partner", "no-self-no-partner", "all-markers"))


def test_the_classifier_sees_the_length_in_words():
    model = new_model("length-embedding")
    features = see_features(model)
    assert torch.equal(features[:, :64], see_features(new_model()))
    lengths = torch.tensor([1, 2, 1, 2, 1, 1])  # of three words, then of one
    assert torch.equal(features[:, 64:], model.length_embedding.weight[lengths - 1])


@pytest.mark.parametrize("marker_max_length", [128, 2])
def test_the_classifier_sees_the_states_of_first_and_last_token(marker_max_length):
    model = new_model("token-states", marker_max_length=marker_max_length)
    features = see_features(model)
    torch.testing.assert_close(features[:, :64], see_features(new_model()))
    batch, expected = collate(model, WORDS), []
    spans = batch["span_tokens"].split(batch["span_counts"].tolist())
    for ids, mask, tokens in zip(batch["input_ids"], batch["attention_mask"], spans, strict=True):
        positions = torch.arange(2, 2 + mask.sum())
        with torch.no_grad():
            states = model.encoder(input_ids=ids[mask][None], position_ids=positions[None]).last_hidden_state[0]
        expected.append(states[tokens].flatten(1))
    torch.testing.assert_close(features[:, 64:], torch.cat(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", ["length-embedding", "token-states"])
def test_what_is_new_learns_and_the_rest_begins_as_it_was(variant):
    model, unchanged = new_model(variant), new_model()
    assert torch.equal(model.classifier.weight[:, :64], unchanged.classifier.weight)
    assert torch.equal(model.classifier.bias, unchanged.classifier.bias)
    before = set(dict(unchanged.named_parameters()))
    loss(model, collate(model, WORDS, [[], []])).backward()
    assert model.classifier.weight.grad[:, 64:].abs().sum() > 0
    for name in set(dict(model.named_parameters())) - before:
        assert model.get_parameter(name).grad.abs().sum() > 0, name


def test_markers_begin_as_mask_and_entity():
    model, unchanged = new_model("mask-and-entity"), new_model()
    table, before = model.get_input_embeddings().weight, unchanged.get_input_embeddings().weight
    tokenizer = model.tokenizer
    pieces = tokenizer.tokenizer.convert_tokens_to_ids(tokenizer.tokenizer.tokenize("entity"))
    assert len(pieces) > 1
    assert torch.equal(table[tokenizer.start_marker_id], before[tokenizer.tokenizer.mask_token_id])
    torch.testing.assert_close(table[tokenizer.end_marker_id], before[pieces].mean(dim=0))
    others = [row for row in range(len(table)) if row not in (tokenizer.start_marker_id, tokenizer.end_marker_id)]
    assert torch.equal(table[others], before[others])


def test_models_of_a_seed_begin_alike_and_their_markers_learn(folder):
    models = {
        name: ablations.make_model(name, str(folder / "encoder"), ["O", "PER"], seed=1)
        for name in (BASELINE, "token-states", "all-markers")
    }
    first = models[BASELINE].encoder.state_dict()
    for model in models.values():
        assert all(torch.equal(value, first[name]) for name, value in model.encoder.state_dict().items())
        batch = collate(model, WORDS, [[("PER", 0, 1)], []])
        assert not model.get_input_embeddings().weight.requires_grad
        before = model.score(batch)[0]
        loss(model, batch).backward()
        assert (model.learned.grad.abs().sum(dim=1) > 0).all()
        with torch.no_grad():
            model.learned[1].normal_()
        assert not torch.allclose(model.score(batch)[0], before)


def test_a_stopped_study_goes_on_where_it_stopped(folder, monkeypatch, capsys):
    train, calls = ablations.train, []

    def train_once(*arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(train(*arguments))

    arguments = ["--seeds", "2", "--variants", "length-embedding"]
    monkeypatch.setattr(ablations, "train", train_once)
    with pytest.raises(KeyboardInterrupt):
        study(folder, *arguments)
    stopped = read_results(folder)
    assert [(run["variant"], run["seed"]) for run in stopped["runs"]] == [(BASELINE, 1)]
    monkeypatch.setattr(ablations, "train", train)
    results = study(folder, *arguments)
    assert results["runs"][0] == stopped["runs"][0]
    runs = [(run["variant"], run["seed"]) for run in results["runs"]]
    assert runs == [(BASELINE, 1), ("length-embedding", 1), (BASELINE, 2), ("length-embedding", 2)]
    assert {"commit", "versions"} <= set(results["machine"])
    for run in results["runs"]:
        assert read_counts([run])[:, 2].tolist() == [1, 2, 2, 0, 1]  # gold entities
    assert "| length embedding | 0." in capsys.readouterr().out
    assert study(folder, *arguments) == results
    with pytest.raises(SystemExit, match="choose another --results"):
        study(folder, "--epochs", "2")


def run_of(variant, seed, right):
    """Three sentences with two entities each, two found."""
    return {
        "variant": variant,
        "seed": seed,
        "f1": sum(right) / 6,
        "counts": " ".join(f"{number} 2 2" for number in right),
    }


def test_differences_are_paired_by_seed():
    runs = [run_of(BASELINE, 1, [2, 1, 1]), run_of(BASELINE, 2, [0, 0, 0]), run_of("no-self", 1, [1, 1, 0])]
    found = ablations.compare(runs)["no-self"]
    assert found["difference"] == pytest.approx(-2 / 6)  # not with the mean over both seeds
    assert found["p_seeds"] is None
    found = ablations.compare([*runs, run_of("no-self", 2, [1, 0, 0])])["no-self"]
    assert found["difference"] == pytest.approx((-2 + 1) / 12)
    assert found["interval"][0] <= -1 / 12 <= found["interval"][1]
