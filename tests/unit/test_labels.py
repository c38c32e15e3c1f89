import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from span_marker.core.labels import (
    CONTINUES,
    SCHEMES,
    LabelledSpan,
    complete_tags,
    detect_scheme,
    entities_to_tags,
    reduce_labels,
    tags_to_entities,
)
from span_marker.core.notation import complete_labels

TYPES = ("PER", "LOC")


@st.composite
def flat_entities(draw):
    """A sentence's number of words, and flat entities in it."""
    num_words = draw(st.integers(0, 12))
    entities, position = [], 0
    while position < num_words:
        length = draw(st.integers(1, num_words - position))
        if draw(st.booleans()):
            entities.append(LabelledSpan(draw(st.sampled_from(TYPES)), position, position + length))
        position += length
    return num_words, entities


def write_tags(num_words, entities, scheme):
    """Write entities in any scheme, word by word, independently of the library."""
    tags = ["O"] * num_words
    for label, start, end in entities:
        for word in range(start, end):
            first, last = word == start, word == end - 1
            if scheme in ("IOB2", "BILO"):
                prefix = "B" if first else "L" if last and scheme == "BILO" else "I"
            elif scheme == "IOB1":
                touches = start > 0 and tags[start - 1].endswith(f"-{label}")
                prefix = "B" if first and touches else "I"
            else:
                single, final = ("U", "L") if scheme == "BILOU" else ("S", "E")
                prefix = single if first and last else "B" if first else final if last else "I"
            tags[word] = f"{prefix}-{label}"
    return tags


@given(flat_entities(), st.sampled_from(["IOB1", "IOB2", "BILO", "BILOU", "BIOES"]))
def test_every_scheme_is_read_back(sentence, scheme):
    num_words, entities = sentence
    name = "IOB" if scheme.startswith("IOB") else scheme
    assert tags_to_entities(write_tags(num_words, entities, scheme), name) == entities


@given(flat_entities())
def test_iob2_tags_are_read_back(sentence):
    num_words, entities = sentence
    assert tags_to_entities(entities_to_tags(entities, num_words), "IOB") == entities


@given(st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), max_size=10))
def test_any_iob_tags_are_read_as_seqeval_reads_them(tags):
    assert tags_to_entities(tags, "IOB") == [
        LabelledSpan(kind, start, end + 1) for kind, start, end in get_entities(tags)
    ]


@given(st.lists(st.sampled_from([f"{p}-{t}" for p in "BIES" for t in TYPES] + ["O"]), max_size=10))
def test_any_bioes_tags_are_read_as_seqeval_reads_them(tags):
    assert tags_to_entities(tags, "BIOES") == [
        LabelledSpan(kind, start, end + 1) for kind, start, end in get_entities(tags)
    ]


@pytest.mark.parametrize(
    ("scheme", "oracle", "name"),
    [("IOB1", IOB1, "IOB"), ("IOB2", IOB2, "IOB"), ("BIOES", IOBES, "BIOES"), ("BILOU", BILOU, "BILOU")],
)
@given(sentence=flat_entities())
def test_well_formed_tags_are_read_as_strict_seqeval_reads_them(scheme, oracle, name, sentence):
    tags = write_tags(*sentence, scheme)
    expected = [LabelledSpan(e.tag, e.start, e.end) for e in Entities([tags], oracle).entities[0]]
    assert tags_to_entities(tags, name) == expected


def test_iob1_neighbours_of_different_types_are_two_entities():
    assert tags_to_entities(["O", "I-PER", "I-LOC", "O"], "IOB") == [
        LabelledSpan("PER", 1, 2),
        LabelledSpan("LOC", 2, 3),
    ]


def test_tags_without_a_scheme_join_equal_neighbours():
    tags = ["PER", "PER", "O", "LOC", "PER"]
    assert tags_to_entities(tags, None) == [
        LabelledSpan("PER", 0, 2),
        LabelledSpan("LOC", 3, 4),
        LabelledSpan("PER", 4, 5),
    ]


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (["O", "B-PER", "I-PER"], "IOB"),
        (["I-PER", "I-LOC", "O"], "IOB"),
        (["O", "B-PER", "I-PER", "L-PER"], "BILO"),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER"], "BILOU"),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], "BIOES"),
        (["O", "S-PER", "E-PER"], "BIOES"),
        (["O", "PER", "LOC"], None),
        (["O", "B-PER", "LOC"], None),
        (["O", "U-PER", "S-PER"], None),
        (["O"], None),
    ],
)
def test_detect_scheme(labels, scheme):
    assert detect_scheme(labels) == scheme


def test_the_empty_prefix_continues_only_itself():
    assert [pair for pair in CONTINUES if "" in pair] == [("", "")]
    prefixes = set().union(*SCHEMES.values())
    assert {prefix for pair in CONTINUES for prefix in pair} <= prefixes | {""}


def test_reduced_labels_do_not_depend_on_the_order_given():
    for labels in itertools.permutations(["O", "B-PER", "I-PER", "B-LOC"]):
        reduced, ids = reduce_labels(labels)
        assert reduced == ["O", "LOC", "PER"]
        assert [reduced[ids[index]] for index in range(4)] == [label.rpartition("-")[2] for label in labels]


def test_labels_without_a_scheme_stay_as_given():
    assert reduce_labels(["PER", "O", "LOC"]) == (["PER", "O", "LOC"], {0: 0, 1: 1, 2: 2})


def test_a_label_may_contain_a_hyphen():
    assert reduce_labels(["O", "B-art-film", "I-art-film"])[0] == ["O", "art-film"]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (["B-PER", "I-PER"], ValueError, "must contain 'O'"),
        (["O"], ValueError, "at least one label besides"),
        (["O", "PER", "PER"], ValueError, r"\['PER'\] occur more than once"),
        (["O", 3], TypeError, "one of them is 3"),
        ("train.jsonl", TypeError, r"not a str: pass a list, or a data set, such as read_annotations\('train.jsonl'\)"),
        ({0: "O", 1: "PER"}, TypeError, r"not a dict: pass list\(labels.values\(\)\)"),
        ({"O", "PER"}, TypeError, "not a set: pass a list, since the order"),
    ],
)
def test_broken_label_lists_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        reduce_labels(labels)


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([LabelledSpan("PER", 0, 4)], "is empty or outside the 3 words"),
        ([LabelledSpan("PER", 1, 1)], "is empty or outside the 3 words"),
        ([LabelledSpan("PER", 0, 2), LabelledSpan("LOC", 1, 3)], "overlaps"),
    ],
)
def test_entities_that_no_tags_can_write_are_refused(entities, message):
    with pytest.raises(ValueError, match=message):
        entities_to_tags(entities, 3)


@given(st.sets(st.sampled_from([f"{p}-{t}" for p in "BIESLU" for t in "XY"] + ["O", "Z"]), min_size=1))
def test_completed_tags_hold_all_tags_and_keep_their_scheme(tags):
    completed = complete_tags(tags)
    assert completed[0] == "O"
    assert tags <= set(completed)
    assert len(set(completed)) == len(completed)
    assert detect_scheme(completed) == detect_scheme(tags)
    assert complete_tags(completed) == completed


@given(st.sets(st.sampled_from(["PER", "B-cell", "I-95", "U-boat", "L-arginine", "E-mail"]), min_size=1))
def test_a_model_has_the_very_labels_of_the_entities(labels):
    assert reduce_labels(complete_labels(labels))[0] == ["O", *sorted(labels)]
