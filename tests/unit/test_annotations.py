import unicodedata

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from tiny import SENTENCES, build_tokenizer

from span_marker.core.alignment import align
from span_marker.core.labels import LabelledSpan, complete_labels, complete_tags, detect_scheme, reduce_labels
from span_marker.data.columns import annotation_form, infer_labels, named_splits


def words_and(column, *rows):
    return Dataset.from_dict({"tokens": [["a"] * len(row) for row in rows], column: list(rows)})


def entities(*labels):
    return [{"label": label, "start": 0, "end": 1} for label in labels]


def with_names(names, tags):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    return Dataset.from_dict({"tokens": [["a"] * len(tags)], "ner_tags": [tags]}, features=features)


def test_labels_of_entities_are_sorted():
    data = DatasetDict(train=words_and("entities", entities("PER", "ORG")), test=words_and("entities", entities("LOC")))
    assert infer_labels(data) == ["O", "LOC", "ORG", "PER"]
    assert infer_labels(data["train"]) == ["O", "ORG", "PER"]


def test_names_of_integer_tags_are_the_labels_in_their_order():
    names = ["B-PER", "O", "I-PER"]
    assert infer_labels(with_names(names, [1, 1])) == names
    assert infer_labels({"a": with_names(names, [0]), "b": with_names(names, [1])}) == names


def test_string_tags_are_completed_over_all_splits():
    data = {"a": words_and("ner_tags", ["O", "S-PER"]), "b": words_and("ner_tags", ["B-LOC", "E-LOC"])}
    assert infer_labels(data) == ["O", *(f"{p}-{label}" for label in ("LOC", "PER") for p in "BIES")]
    assert infer_labels(words_and("ner_tags", ["place", "O", "person"])) == ["O", "person", "place"]


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


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (words_and("ner_tags", [0, 1]), ValueError, "integers without names: cast .*, or pass labels="),
        (words_and("ner_tags", ["O", "O"]), ValueError, "no entity"),
        (words_and("entities", []), ValueError, "no entity"),
        (Dataset.from_dict({"text": ["a"]}), ValueError, "rename"),
        (Dataset.from_dict({"text": ["a"], "tokens": [["a"]], "entities": [entities("X")]}), ValueError, "may count"),
        (
            {"a": words_and("ner_tags", ["X"]), "b": words_and("entities", entities("X"))},
            ValueError,
            r"\['a'\] have tags",
        ),
        ({"a": with_names(["O", "X"], [0]), "b": with_names(["X", "O"], [0])}, ValueError, "of the a data mean"),
        (
            words_and("entities", entities("X"), entities(None)),
            ValueError,
            "row 1 of the annotated data.*has no 'label'",
        ),
        ({}, ValueError, "empty"),
        ([{"tokens": ["a"]}], TypeError, "not list: make one with Dataset.from_list"),
        ({"train": [1]}, TypeError, "the train data must be a datasets.Dataset"),
    ],
)
def test_what_has_no_labels_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        infer_labels(data)


def test_the_form_is_told_by_the_columns():
    row = {"tokens": [["a"]], "ner_tags": [["O"]]}
    assert annotation_form(Dataset.from_dict(row), "x") == "tags"
    assert annotation_form(Dataset.from_dict({"tokens": [["a"]], "entities": [[]]}), "x") == "words"
    with pytest.raises(ValueError, match="the x data has both 'entities' and 'ner_tags'"):
        annotation_form(Dataset.from_dict({**row, "entities": [[]]}), "x")
    assert annotation_form(Dataset.from_dict({"text": ["a"], "entities": [[]]}), "x") == "text"


def test_a_single_data_set_is_named_and_read_as_python():
    [(name, dataset)] = named_splits(words_and("ner_tags", ["O"]).with_format("numpy")).items()
    assert (name, dataset[0]) == ("annotated", {"tokens": ["a"], "ner_tags": ["O"]})


@st.composite
def annotated_texts(draw):
    """A text, boundaries of words in it, and spans; words may hold white space, or nothing, or leave letters out."""
    text = draw(st.text("ab \n\u00a0", max_size=14))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=10)))
    bounds = [bound for bound in zip(cuts, cuts[1:]) if draw(st.booleans())]  # noqa: B905, RUF007
    place = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda pair: pair[0] < pair[1])
    pairs = draw(st.lists(place, max_size=6)) if text else []
    return text, bounds, [LabelledSpan(f"L{index}", *pair) for index, pair in enumerate(pairs)]


def is_ignored(char):
    return char.isspace() or unicodedata.category(char) in ("Mn", "Cf")


def trim(text, start, end):
    while start < end and is_ignored(text[start]):
        start += 1
    while start < end and is_ignored(text[end - 1]):
        end -= 1
    return start, end


def naive_align(spans, text, bounds):
    """Compare each span with every pair of words."""
    words = [trim(text, *bound) for bound in bounds]
    full = [index for index, (start, end) in enumerate(words) if start < end]
    aligned, others = [], []
    for span in spans:
        wanted = trim(text, span.start, span.end)
        found = [(i, j + 1) for i in full for j in full if i <= j and (words[i][0], words[j][1]) == wanted]
        if found and wanted[0] < wanted[1]:
            aligned.append(LabelledSpan(span.label, *found[0]))
        else:
            others.append(span)
    return aligned, others


@given(annotated_texts())
def test_entities_are_aligned_as_a_naive_search_aligns_them(annotated):
    text, bounds, spans = annotated
    char_starts, char_ends = np.array(bounds, dtype=np.int64).reshape(-1, 2).T
    assert align(spans, text, char_starts, char_ends) == naive_align(spans, text, bounds)


@pytest.mark.parametrize("kind", ["wordpiece", "bytelevel", "unigram"])
@pytest.mark.parametrize("gap", [" ", "  ", "\n\t"])
def test_words_of_every_tokenizer_are_found_again(kind, gap):
    words = SENTENCES[0]
    text = gap + gap.join(words) + gap
    starts = [len(gap.join(["", *words[:index], ""])) for index in range(len(words))]
    spans = [
        LabelledSpan("X", starts[i], starts[j] + len(words[j])) for i in range(len(words)) for j in range(i, len(words))
    ]
    sentence = build_tokenizer(kind).encode_texts([text])[0]
    aligned, others = align(spans, text, sentence.char_starts, sentence.char_ends)
    assert others == []
    for span, (_, start, end) in zip(spans, aligned, strict=True):
        found = text[sentence.char_starts[start] : sentence.char_ends[end - 1]]
        assert found.strip() == text[span.start : span.end]


def test_an_entity_that_cuts_a_word_is_handed_back():
    cut = [LabelledSpan("X", 0, 2), LabelledSpan("X", 1, 3), LabelledSpan("X", 3, 4)]
    assert align(cut, "Ann Lee", np.array([0, 3]), np.array([3, 7])) == ([], cut)


def test_marks_that_a_tokenizer_drops_do_not_matter():
    text = "Beyonce\u0301 sang"  # the accent is a character of its own
    starts, ends = np.array([0, 9]), np.array([7, 13])
    for end in (7, 8):
        assert align([LabelledSpan("PER", 0, end)], text, starts, ends) == ([LabelledSpan("PER", 0, 1)], [])
