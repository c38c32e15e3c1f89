"""Fitting a candidate filter: what it learns, where it cuts, what it says about it, and what it refuses."""

import pytest
import torch
from datasets import Dataset
from helpers import check_margin, collate, rounding
from tiny import SENTENCES, build_model

from span_marker import SpanMarkerModel
from span_marker.candidate_filter.fitting import DEFAULT_RECALL, Examples, choose_threshold, fit_filter, split_held_out
from span_marker.candidate_filter.head import SpanFilter
from span_marker.preprocessing.inputs import Sentences

WORDS = [[f"{word}{number % 7}" for word in words] for number in range(12) for words in SENTENCES]
"""Sixty sentences, empty ones among them."""


def random_examples(num_batches, seed):
    """Candidates that are entities if their first token has a large first number and their last a large second one."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(num_batches):
        states = torch.randn(60, 8, generator=generator)
        rows = torch.randint(60, (300, 2), generator=generator)
        is_entity = (states[rows[:, 0], 0] > 1) & (states[rows[:, 1], 1] > 1)
        lengths = torch.ones(300, dtype=torch.long)
        has_markers = torch.ones_like(is_entity)
        found.append(Examples(states, rows, lengths, is_entity.float() * 0.98 + 0.01, is_entity, has_markers))
    return found


def test_a_filter_learns_what_its_teacher_knows():
    span_filter = fit_filter(random_examples(60, seed=1), seed=0)
    report = choose_threshold(span_filter, random_examples(100, seed=2), recall=0.95)
    assert report.chosen.recall == 0.95
    assert 0.95 <= report.chosen.predictions_kept < 0.98
    assert report.chosen.kept < 0.2  # 2.5 % are entities
    kept = [point.kept for point in report.points]
    assert kept == sorted(kept)
    lines = str(report).splitlines()
    assert lines[0].startswith(f"{report.num_predictions:,} entities of the model among 30,000")
    assert repr(report).startswith("FilterReport(points=(FilterPoint(")
    assert [line.endswith("<-") for line in lines[3:]] == [point is report.chosen for point in report.points]


def test_what_is_promised_holds_on_other_text():
    """With a confidence of 95 %, few of many held-out samples may give a threshold that drops too much."""
    span_filter = fit_filter(random_examples(20, seed=1), seed=0)
    (everything,) = (choose_threshold(span_filter, random_examples(400, seed=3), recall=0.9),)
    broken = 0
    for seed in range(60):
        threshold = choose_threshold(span_filter, random_examples(10, seed=100 + seed), recall=0.9).chosen.threshold
        broken += threshold > everything.points[0].threshold
    assert everything.points[0].recall == 0.9
    assert broken <= 8


def test_learning_is_repeatable_and_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    one, other = (fit_filter(random_examples(5, seed=1), seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for parameter, same in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter, same)


def test_documents_are_held_out_as_a_whole():
    rows = list(range(30))
    documents = [row // 3 for row in rows]
    sentences = Sentences([[str(row)] for row in rows], False, documents, [row % 3 for row in rows])
    rest, held_out = split_held_out(sentences)
    assert sorted(rest.items + held_out.items, key=lambda words: int(words[0])) == sentences.items
    assert set(held_out.document_ids) == {4, 9}
    rest, held_out = split_held_out(Sentences([["a"]] * 11, False))
    assert (len(rest.items), len(held_out.items)) == (9, 2)


@pytest.fixture
def model():
    return build_model("bert", entity_max_length=4)


@pytest.mark.parametrize("form", ["words", "texts", "annotated", "documents"])
def test_fit_on_any_form_of_text(model, form):
    data = {
        "words": WORDS,
        "texts": [" ".join(words) for words in WORDS],
        "annotated": Dataset.from_dict({"tokens": WORDS, "ner_tags": [["O"] * len(words) for words in WORDS]}),
        "documents": Dataset.from_dict(
            {"tokens": WORDS, "document_id": [row // 5 for row in range(60)], "sentence_id": [*range(5)] * 12}
        ),
    }[form]
    exact = model.predict(data)
    report = model.fit_span_filter(data, recall=0.9)
    assert model.config.span_filter.threshold == report.chosen.threshold
    assert model.predict(data, exact=True) == exact
    filtered, coverages = model.predict(data, return_coverage=True)
    dropped = sum(coverage.num_dropped for coverage in coverages)
    scored = sum(coverage.num_scored for coverage in coverages)
    assert all(coverage.is_complete for coverage in coverages)
    assert 0 < dropped < scored
    assert scored == sum(coverage.num_candidates for coverage in coverages)
    assert sum(map(len, filtered)) > 0.5 * sum(map(len, exact))
    model.config.exact = True
    assert model.predict(data) == exact


def test_the_filter_is_saved_and_loaded(model, tmp_path):
    model.fit_span_filter(WORDS, recall=0.9)
    found = model.predict(WORDS)
    model.save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    assert loaded.predict(WORDS) == found
    assert loaded.config.span_filter == model.config.span_filter
    exact = SpanMarkerModel.from_pretrained(tmp_path, exact=True)
    assert exact.predict(WORDS) == model.predict(WORDS, exact=True) != found
    assert list(exact.predict_stream(WORDS, exact=False)) == found
    with pytest.raises(ValueError, match=r"entity_max_length=4 .*entity_max_length=6.*exact=True"):
        SpanMarkerModel.from_pretrained(tmp_path, entity_max_length=6)
    longer = SpanMarkerModel.from_pretrained(tmp_path, entity_max_length=6, exact=True)
    with pytest.raises(ValueError, match=r"entity_max_length=4 .*entity_max_length=6.*exact=True"):
        longer.predict(WORDS, exact=False)
    longer.fit_span_filter(WORDS, recall=0.9)
    assert longer.uses_filter()
    assert len(longer.predict(WORDS)) == len(WORDS)


def test_the_card_says_what_the_filter_keeps(model):
    report = model.fit_span_filter(WORDS, recall=0.9)
    [line] = [line for line in model.generate_model_card().splitlines() if line.startswith("- **Candidate filter:** ")]
    assert f"keeps {report.chosen.kept:.2%} of {report.num_scored:,} held-out candidates" in line
    assert "at least 90.00% of what the model predicts." in line
    model.tune_span_filter(WORDS, recall=0.95)
    text = model.generate_model_card()
    assert text.count("- **Candidate filter:** ") == 1
    assert "at least 95.00% of what the model predicts." in text


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_fitting_needs_no_gradients_around_it(model, without_gradients):
    with without_gradients():
        report = model.fit_span_filter(WORDS, recall=0.9)
    # The same operations on tensors of the same shapes: nothing differs, not by a bit.
    assert str(build_model("bert", entity_max_length=4).fit_span_filter(WORDS, recall=0.9)) == str(report)


def test_the_threshold_is_that_of_the_models_numbers():
    model = build_model("bert", entity_max_length=4).to(torch.bfloat16)
    report = model.fit_span_filter(WORDS, held_out=WORDS, recall=0.9)
    assert model.span_filter.score.weight.dtype == torch.bfloat16
    threshold = report.chosen.threshold
    assert threshold == torch.tensor(threshold).bfloat16()  # a score in bfloat16: in float32, hardly any score is
    _, coverages = model.predict(WORDS, return_coverage=True)
    kept = sum(coverage.num_scored - coverage.num_dropped for coverage in coverages)
    # Batches of other sizes are rounded in another way.
    batch = collate(model, WORDS)
    seen = model.examine(batch)

    def score(span_filter):
        states = seen.text_states.to(span_filter.score.weight.dtype)
        return span_filter(states, seen.span_rows, batch["span_words"].diff(dim=1)[:, 0])

    distances = (score(model.span_filter).float() - threshold).abs()
    num_close = int((distances < rounding(model.span_filter, score)).sum())
    assert num_close < 0.05 * report.num_scored
    assert abs(kept - report.chosen.kept * report.num_scored) <= num_close


def test_a_filter_that_was_trained_with_its_model_is_not_replaced(model):
    model.config.candidates_per_word = 1
    model.add_span_filter()
    with pytest.raises(ValueError, match=r"candidates_per_word=1\) .*tune_span_filter.*candidates_per_word=None"):
        model.fit_span_filter(WORDS, recall=0.9)
    report = model.tune_span_filter(WORDS, recall=0.5)
    assert 0 < report.chosen.kept < 1 / 3


def test_another_recall_needs_no_learning(model):
    with pytest.raises(ValueError, match="fit_span_filter"):
        model.tune_span_filter(WORDS, recall=0.5)
    model.fit_span_filter(WORDS, held_out=WORDS, recall=0.9)
    span_filter, before = model.span_filter, model.config.span_filter
    report = model.tune_span_filter(WORDS, recall=0.5)
    assert model.span_filter is span_filter
    assert report.chosen.threshold == model.config.span_filter.threshold > before.threshold
    assert report.chosen.kept < before.candidates_kept


def test_held_out_text_may_be_given(model):
    check_margin(model, WORDS[30:])  # texts and markers run apart in fitting, and together in prediction
    report = model.fit_span_filter(WORDS[:30], held_out=WORDS[30:], recall=0.9)
    exact = model.predict(WORDS[30:], exact=True)
    assert report.num_predictions == sum(map(len, exact))


def test_too_little_held_out_text_is_refused(model):
    before = model.config.to_dict()
    with pytest.raises(
        ValueError, match=r"finds \d+ entities in the held-out text, but 598 are needed .*recall=0.995 "
    ):
        model.fit_span_filter(WORDS, held_out=WORDS[:5])
    with pytest.raises(ValueError, match=r"pass \d+ times as much held-out text, or recall=0.9, for which 29 entities"):
        model.fit_span_filter(WORDS, held_out=WORDS[:5])
    with pytest.raises(ValueError, match=r"pass \d+ times as much held-out text$"):
        model.fit_span_filter(WORDS, held_out=WORDS[:1], recall=0.9)
    assert DEFAULT_RECALL == 0.995
    assert model.span_filter is None
    assert model.config.to_dict() == before
    with pytest.raises(ValueError, match="finds no entities in the held-out text: pass more text"):
        model.fit_span_filter(WORDS, held_out=[[], []], recall=0.5)


def test_text_without_entities_is_refused(model):
    torch.nn.init.zeros_(model.classifier.weight)
    with torch.no_grad():
        model.classifier.bias[model.config.outside_id] = 9.0
    with pytest.raises(ValueError, match="finds no entity in"):
        model.fit_span_filter(WORDS)
    with pytest.raises(ValueError, match="finds no entity in"):
        model.fit_span_filter([[]])
    assert model.span_filter is None


@pytest.mark.parametrize(
    ("recall", "error", "message"),
    [
        (1.0, ValueError, "recall=1.0 must be above 0 and below 1"),
        (0, ValueError, "recall=0 must be above 0 and below 1"),
        (1.5, ValueError, "recall=1.5 must be from 0 to 1"),
        (99.5, ValueError, "recall=99.5 must be from 0 to 1"),
        ("high", TypeError, "recall='high' must be a number"),
    ],
)
def test_impossible_recalls_are_refused(model, recall, error, message):
    with pytest.raises(error, match=message):
        model.fit_span_filter(WORDS, recall=recall)


def test_the_dense_engine_is_refused():
    with pytest.raises(ValueError, match="need the fast engine"):
        build_model("bert", "dense", entity_max_length=4).fit_span_filter(WORDS, recall=0.9)


def test_multi_label_models_have_filters():
    model = build_model("bert", entity_max_length=4, multi_label=True)
    check_margin(model, WORDS, threshold=0.5)
    exact = model.predict(WORDS)
    report = model.fit_span_filter(WORDS, held_out=WORDS, recall=0.9)
    places = {(row, e["word_start_index"], e["word_end_index"]) for row, found in enumerate(exact) for e in found}
    assert report.num_predictions == len(places)


def test_fitting_does_not_ask_the_filter_before(model):
    model.span_filter = SpanFilter(7)  # does not even fit the text states
    model.fit_span_filter(WORDS, held_out=WORDS, recall=0.9)
    assert model.span_filter.input_size != 7
