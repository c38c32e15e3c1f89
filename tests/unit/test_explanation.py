"""Explanations agree with predictions, whatever the span, and name the step at which a span was lost."""

import json
import re
from dataclasses import replace

import pytest
from helpers import filter_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import read_marks, read_page, text_of
from tiny import SENTENCES, build_model

from span_marker.candidate_filter.head import SpanFilter
from span_marker.configuration import SpanFilterConfig
from span_marker.core.alignment import trim
from span_marker.prediction.explanation import CONTEXT, OTHER, REASONS, SPAN, find_span

TEXT = "Amelia Earhart flew across the  Atlantic to Paris, New York and 東京 (Japan)."


def with_filter(**limits):
    """A model with a random filter, which drops half of the candidates."""
    model = build_model("bert", **limits)
    model.span_filter = SpanFilter(model.text_state_size())
    threshold = float(filter_scores(model, SENTENCES).median())
    model.config.span_filter = SpanFilterConfig(
        model.span_filter.input_size, threshold, model.config.entity_max_length, recall=0.9, candidates_kept=0.5
    )
    model.config.exact = False
    return model


MODELS = {
    "plain": lambda: build_model("bert", entity_max_length=3),
    "nested": lambda: build_model("roberta", entity_max_length=3, decoding="nested"),
    "multi-label": lambda: build_model("xlm-roberta", entity_max_length=3, multi_label=True),
    "filtered": lambda: with_filter(entity_max_length=3),
    "windows": lambda: build_model("bert", entity_max_length=3, model_max_length=24),
}


@pytest.fixture(scope="module")
def models():
    return {name: make() for name, make in MODELS.items()}


def places(entities):
    return {tuple(value for key, value in entity.items() if key.endswith("_index")) for entity in entities}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15)
@given(
    words=st.lists(st.sampled_from([*TEXT.split(" "), "\u2063", "x" * 40, "\n"]), min_size=1, max_size=9),
    data=st.data(),
)
def test_a_span_is_found_if_and_only_if_predict_returns_it(models, name, words, data):
    model = models[name]
    text = " ".join(words)
    if not text:
        return
    found = places(model.predict(text))
    # Spans at random, most of which are lost, and those that are found.
    start = data.draw(st.integers(0, len(text) - 1))
    spans = [(start, data.draw(st.integers(start + 1, len(text)))), *sorted(found)[:2]]
    for span in spans:
        explanation = model.explain(text, span)
        first, last = trim(text, *span, keep_marks=True)
        assert explanation.is_found == ((first, last) in found)
        assert explanation.reason in REASONS
        assert json.loads(json.dumps(explanation.to_dict()))["reason"] == explanation.reason
        assert REASONS[explanation.reason] in str(explanation)


@pytest.mark.parametrize("name", MODELS)
def test_all_spans_of_words(models, name):
    model, words = models[name], SENTENCES[2]
    found = places(model.predict(words))
    assert found
    reasons = set()
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            explanation = model.explain(words, (start, end))
            assert explanation.is_found == ((start, end) in found)
            assert explanation.num_words == end - start
            assert (explanation.reason == "too-long") == (end - start > 3)
            assert bool(explanation.scores) == (end - start <= 3)
            reasons.add(explanation.reason)
    if name == "filtered":
        assert "filtered" in reasons
    assert reasons <= {"found", "too-long", "unlikely", "overlap", "filtered"}


def test_scores_are_those_of_predict(models):
    model = models["plain"]
    for entity in model.predict(TEXT, top_k=9):
        explanation = model.explain(TEXT, entity["span"] if TEXT.count(entity["span"]) == 1 else places([entity]).pop())
        assert explanation.scores == {pair["label"]: pair["score"] for pair in entity["labels"]}
        assert [found["label"] for found in explanation.entities] == [entity["label"]]


def test_a_threshold_explains_what_is_lost(models):
    model = models["plain"]
    entity = model.predict(TEXT)[0]
    span = (entity["char_start_index"], entity["char_end_index"])
    lost = model.explain(TEXT, span, threshold=1.0)
    assert lost.reason == "unlikely"
    assert set(lost.thresholds.values()) == {1.0}
    assert set(lost.thresholds) == {"PER", "LOC", "ORG"}
    assert lost.scores[entity["label"]] < 1.0


def test_an_overlap_names_the_entities_that_came_first(models):
    model = models["plain"]
    winners = model.predict(TEXT)
    every = model.predict(TEXT, decoding="overlapping")
    lost = next(entity for entity in every if entity not in winners)
    span = (lost["char_start_index"], lost["char_end_index"])
    explanation = model.explain(TEXT, span)
    assert explanation.reason == "overlap"
    assert explanation.overlapping
    assert max(entity["score"] for entity in explanation.overlapping) >= lost["score"]
    assert model.explain(TEXT, span, decoding="overlapping").is_found


def test_the_filter_names_its_score(models):
    model = models["filtered"]
    explanations = [model.explain(SENTENCES[2], (start, start + 1)) for start in range(len(SENTENCES[2]))]
    for explanation in explanations:
        assert (explanation.reason == "filtered") <= (explanation.filter_score < explanation.filter_threshold)
        assert explanation.filter_threshold == models["filtered"].config.span_filter.threshold
        assert explanation.scores
    dropped = next(explanation for explanation in explanations if explanation.reason == "filtered")
    exact = model.explain(SENTENCES[2], (dropped.start, dropped.end), exact=True)
    assert exact.reason != "filtered"
    assert exact.filter_score is None
    assert exact.scores == pytest.approx(dropped.scores, abs=1e-5)


@pytest.mark.parametrize(
    ("span", "reason"),
    [("melia", "partial-word"), ((30, 32), "blank"), ("flew across the  Atlantic", "too-long")],
)
def test_spans_that_are_no_candidates(models, span, reason):
    explanation = models["plain"].explain(TEXT, span)
    assert explanation.reason == reason
    assert explanation.scores == {}


def test_words_that_fit_into_no_window():
    model = build_model("bert", entity_max_length=4, model_max_length=20)
    text = f"Amelia {'x' * 50} flew"
    assert model.explain(text, text).reason == "not-read"
    assert model.explain(["Amelia", "\u2063"], (1, 2)).reason == "not-read"


@pytest.mark.parametrize(
    ("span", "error", "message"),
    [
        ("a", ValueError, r"span='a' occurs \d+ times: pass \(start, end\)"),
        ("Tokyo", ValueError, "occurs nowhere$"),
        ("", TypeError, "must be"),
        ((3, 3), ValueError, "0 <= start < end <= 75"),
        ((0, 400), ValueError, "0 <= start < end <= 75"),
        (["Amelia"], TypeError, "of the same type"),
        (3, TypeError, "must be"),
    ],
)
def test_spans_that_cannot_be_read(models, span, error, message):
    with pytest.raises(error, match=message):
        models["plain"].explain(TEXT, span)
    assert len(TEXT) == 75


def test_one_text_is_explained(models):
    with pytest.raises(TypeError, match="explain takes one text or one list of words"):
        models["plain"].explain([["Paris"]], (0, 1))
    assert find_span(["in", "New", "York"], ["New", "York"]) == (1, 3)
    assert find_span(" Paris ", (0, 7)) == (1, 6)


def page_of(explanation, folder, **options):
    explanation.write_html(folder / "x.html", **options)
    return read_page(folder / "x.html")


def marks_on(page):
    """The text of the page, and of each mark its number, its text and its label with its score."""
    letters, labels = read_marks(page.find(".//figure/p"))
    marked = {number: "".join(letter for letter, lines in letters if number in dict(lines)) for number in (SPAN, OTHER)}
    return "".join(letter for letter, _ in letters), marked, sorted(text_of(label) for _, label in labels)


@pytest.fixture(scope="module")
def outcomes(models):
    """One explanation for each step, of texts and of words."""
    plain, filtered, words = models["plain"], models["filtered"], SENTENCES[2]
    entity = plain.predict(TEXT)[0]
    span = (entity["char_start_index"], entity["char_end_index"])
    winners = plain.predict(TEXT)
    lost = next(entity for entity in plain.predict(TEXT, decoding="overlapping") if entity not in winners)
    dropped = [filtered.explain(words, (start, start + 1)) for start in range(len(words))]
    return [
        plain.explain(TEXT, span),
        plain.explain(TEXT, (30, 32)),
        plain.explain(TEXT, "melia"),
        plain.explain(TEXT, "flew across the  Atlantic"),
        plain.explain(words, (0, 5)),
        plain.explain(["Amelia", "\u2063"], (1, 2)),
        next(explanation for explanation in dropped if explanation.reason == "filtered"),
        plain.explain(TEXT, span, threshold=1.0),
        plain.explain(TEXT, (lost["char_start_index"], lost["char_end_index"])),
    ]


def test_a_page_has_every_outcome(outcomes, tmp_path):
    reasons = set()
    for explanation in outcomes:
        page = page_of(explanation, tmp_path)
        reasons.add(explanation.reason)
        is_text = isinstance(explanation.text, str)
        assert text_of(page.find(".//body/p")) == f"{explanation.reason}: {REASONS[explanation.reason]}"
        text, marked, labels = marks_on(page)
        assert text == (explanation.text if is_text else " ".join(explanation.text))
        assert marked[SPAN] == (explanation.span if is_text else " ".join(explanation.span))
        name = " ".join([explanation.reason, *(entity["label"] for entity in explanation.entities)])
        others = [f"{entity['label']} {entity['score']:.3f}" for entity in explanation.overlapping]
        assert labels == sorted([name, *others])
        assert bool(marked[OTHER]) == bool(explanation.overlapping)
        facts = [text_of(element) for element in page.find(".//dl")]
        lines = [f"{name}: {value}" for name, value in zip(facts[::2], facts[1::2], strict=True)]
        assert "\n".join(["", *lines]) in str(explanation)
        assert {f"decoding: {explanation.decoding}"} <= set(lines)
        if explanation.reason == "filtered":
            assert f"filter score: {explanation.filter_score:.3f}" in lines
            assert f"filter threshold: {explanation.filter_threshold:.3f}" in lines
            assert "Without the filter" in text_of(page)
        if explanation.reason == "overlap":
            assert explanation.overlapping
            assert all(repr(entity["span"]) in lines[-1] for entity in explanation.overlapping)
        rows = [[text_of(cell) for cell in row][:2] for row in page.findall(".//tbody/tr")]
        assert rows == [[label, f"{score:.3f}"] for label, score in explanation.scores.items()]
    assert reasons == set(REASONS)


def test_bars_have_the_length_of_probabilities_and_a_mark_at_thresholds(outcomes, tmp_path):
    explanation = replace(
        outcomes[0], scores={"O": 0.5, "PER": 0.375, "LOC": 0.125}, thresholds={"PER": 0.25, "LOC": 0.75}
    )
    page = page_of(explanation, tmp_path, title="Why?")
    assert text_of(page.find(".//h1")) == "Why?"
    bars = list(page.iter("svg"))
    assert [bar.find("rect[@class='fill']").get("width") for bar in bars] == ["100.0", "75.0", "25.0"]
    assert {bar.find("rect[@class='track']").get("width") for bar in bars} == {"200"}
    paths = [[path.get("d") for path in bar.iter("path")] for bar in bars]
    assert paths == [[], ["M50.0 8H50.0M50.0 4V12"], ["M150.0 8H150.0M150.0 4V12"]]
    table = [[text_of(cell) for cell in row][:3] for row in page.iter("tr")]
    assert table[:3] == [["label", "probability", "threshold"], ["O", "0.500", ""], ["PER", "0.375", "0.250"]]
    without = page_of(replace(explanation, thresholds={}), tmp_path)
    assert "the most probable class decides" in text_of(without)
    assert not list(without.iter("path"))


def test_a_page_is_escaped_and_needs_nothing_else(outcomes, tmp_path):
    text = "<script>alert('x')</script> &amp; <b>Köln</b>"
    start = text.index("Köln")
    entity = {"span": "<b>K", "label": "<i>&", "score": 0.5, "char_start_index": start - 3, "char_end_index": start + 1}
    explanation = replace(
        outcomes[0],
        text=text,
        span="Köln",
        start=start,
        end=start + 4,
        words=["<u>"],
        scores={"<s>": 1.0},
        entities=[{**entity, "label": "</p>"}],
        overlapping=[entity],
    )
    page = page_of(explanation, tmp_path, title="<h2> & more")
    assert not {"script", "b", "i", "u", "s", "h2"} & {element.tag for element in page.iter()}
    assert page.find(".//title").text == page.find(".//h1").text == "<h2> & more"
    assert marks_on(page) == (text, {SPAN: "Köln", OTHER: "<b>K"}, ["<i>& 0.500", "found </p>"])
    source = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<link|<script|<img|src=|href=|@import|url\(", source)


def test_a_page_shows_the_text_around_the_span(outcomes, tmp_path):
    text = "a b " * 100 + "Köln" + " c d" * 100
    explanation = replace(outcomes[0], text=text, start=400, end=404, overlapping=[])
    shown, marked, _ = marks_on(page_of(explanation, tmp_path))
    assert marked[SPAN] == "Köln"
    assert shown.startswith("... ")
    assert shown.endswith(" ...")
    assert shown[4:-4] in text
    assert 2 * CONTEXT - 4 <= len(shown) - len("...  ...") - len("Köln") <= 2 * CONTEXT
