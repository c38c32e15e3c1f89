"""Probabilities of spans, as predictions have them, averaged, and beside other mentions of the same words."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.labels import LabelledSpan
from span_marker.curation.span_probabilities import (
    Mentions,
    find_mentions,
    mean_distributions,
    overlap,
    read_distributions,
    weigh_mentions,
)

SPANS = [(start, end) for start in range(4) for end in range(start + 1, 5)]


@st.composite
def distributions(draw):
    """Predictions of a row of four words."""
    spans = draw(st.lists(st.sampled_from(SPANS), unique=True, max_size=5))
    numbers = st.lists(st.integers(0, 8), min_size=3, max_size=3).filter(any)
    drawn = {span: draw(numbers) for span in spans}
    return {span: {"A": a / (a + b + o), "B": b / (a + b + o)} for span, (a, b, o) in drawn.items()}


def entity(label, score, start, end, **others):
    return {"label": label, "score": score, "word_start_index": start, "word_end_index": end, **others}


def test_all_labels_are_read_if_they_are_listed():
    labels = [{"label": "O", "score": 0.5}, {"label": "LOC", "score": 0.25}, {"label": "PER", "score": 0.125}]
    entities = [entity("LOC", 0.25, 0, 1, labels=labels), entity("PER", 0.75, 1, 2)]
    assert read_distributions(["a", "b"], entities, "row 0") == {
        (0, 1): {"LOC": 0.25, "PER": 0.125},
        (1, 2): {"PER": 0.75},
    }


def test_white_space_at_the_edges_of_texts_does_not_count():
    found = read_distributions("Ann went", [{"label": "PER", "score": 0.5, "start": 0, "end": 4}], "row 0")
    assert found == {(0, 3): {"PER": 0.5}}


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([{"label": "PER", "start": 0, "end": 1}], "row 7: entity 'PER' has no 'score'"),
        ([entity("PER", 0.75, 0, 1), entity("LOC", 0.5, 0, 1)], "multi-label"),
        ([entity("PER", -0.5, 0, 1)], "score"),
        ([entity("PER", 0.5, 0, 3)], "row 7"),
    ],
)
def test_scores_must_be_probabilities_of_one_label(entities, message):
    with pytest.raises(ValueError, match=message):
        read_distributions(["a", "b"], entities, "row 7")


@given(st.lists(distributions(), min_size=1, max_size=4))
def test_means_are_those_of_dense_tables(models):
    means = mean_distributions(models)
    for span in SPANS:
        for label in "AB":
            expected = sum(model.get(span, {}).get(label, 0.0) for model in models) / len(models)
            assert means.get(span, {}).get(label, 0.0) == pytest.approx(expected)


@st.composite
def annotated_rows(draw):
    """Rows of few different words, so that the same ones return, with entities that do not overlap."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        words = draw(st.lists(st.sampled_from("ab"), min_size=4, max_size=4))
        gold = []
        for label, span in draw(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(SPANS)), max_size=3)):
            if not any(overlap(span, other[1:]) for other in gold):
                gold.append(LabelledSpan(label, *span))
        rows.append(((words, gold), draw(distributions())))
    return rows


@given(annotated_rows())
def test_mentions_are_counted_as_by_comparing_all_pairs(pairs):
    rows, predictions = zip(*pairs, strict=True)
    places = []  # row, span, label, words, word before, word after
    for row, ((words, gold), listed) in enumerate(pairs):
        labels = {entity[1:]: entity.label for entity in gold}
        labels |= {span: "O" for span in listed if not any(overlap(span, entity[1:]) for entity in gold)}
        padded = ["", *words, ""]
        for span, label in labels.items():
            places.append((row, span, label, words[slice(*span)], padded[span[0]], padded[span[1] + 1]))
    annotated = [words[start:end] for words, gold in rows for _, start, end in gold]
    for row, found in enumerate(find_mentions(rows, predictions)):
        for place in (place for place in places if place[0] == row):
            alike = [
                other[2]
                for other in places
                if other is not place and other[3] == place[3] and (other[4] == place[4] or other[5] == place[5])
            ]
            expected = Counter(alike) if place[3] in annotated else Counter()
            assert (found[place[1]].counts if place[1] in found else {}) == expected
        assert set(found) <= {place[1] for place in places if place[0] == row}


def test_the_composition_of_accents_does_not_count():
    composed, decomposed = "in Z\u00fcrich by\u00e9", "in Zu\u0308rich bye\u0301"
    for rows in (
        [(composed, [LabelledSpan("A", 3, 9)]), (decomposed, [LabelledSpan("B", 3, 10)])],
        [(composed.split(), [LabelledSpan("A", 1, 2)]), (decomposed.split(), [LabelledSpan("B", 1, 2)])],
    ):
        found = find_mentions(rows, [{}, {}])
        assert [[*mentions.values()] for mentions in found] == [[Mentions({"B": 1})], [Mentions({"A": 1})]]


def test_contexts_of_texts_are_words():
    rows = [("in Rome, now", [LabelledSpan("LOC", 3, 7)]), ("in Rome; then", [LabelledSpan("ORG", 3, 7)])]
    rows += [("by Rome", [LabelledSpan("PER", 3, 7)])]
    assert [dict(row[1].counts) for found in find_mentions(rows, [{}] * 3) for row in found.items()] == [
        {"ORG": 1},
        {"LOC": 1},
    ]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.floats(0, 1), st.floats(0.01, 100))
def test_weighed_probabilities_lie_between_the_model_and_the_mentions(num_a, num_b, num_o, share, weight):
    model = {"A": share, "B": 1 - share}
    mentions = Mentions({"A": num_a, "B": num_b, "O": num_o}) if num_a + num_b + num_o else None
    weighed = weigh_mentions(model, mentions, weight)
    assert sum(weighed.values()) <= 1 + 1e-9
    for label, number in (("A", num_a), ("B", num_b)):
        bounds = sorted((model[label], model[label] if mentions is None else number / mentions.number))
        assert bounds[0] - 1e-9 <= weighed[label] <= bounds[1] + 1e-9


def test_a_mention_counts_as_much_as_a_share_of_the_weight():
    assert weigh_mentions({"A": 0.5}, Mentions({"B": 1, "O": 1}), 2.0) == {"A": 0.25, "B": 0.25}
