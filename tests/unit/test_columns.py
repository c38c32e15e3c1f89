import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from span_marker.core.labels import LabelledSpan
from span_marker.data.columns import annotation_form, infer_labels, named_splits, read_rows


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


@pytest.mark.parametrize("num_names", [1, 3])
def test_numbers_are_no_names_of_tags(num_names):
    """A ClassLabel(num_classes=3) names them so. Words with the tag 0 were entities with the label '0'."""
    data = with_names([str(number) for number in range(num_names)], [0, num_names - 1])
    assert data.features["ner_tags"] == List(ClassLabel(num_classes=num_names))
    with pytest.raises(ValueError, match="integers without names: cast .*, or pass labels="):
        infer_labels(data)
    with pytest.raises(ValueError, match="integers without names"):
        [*read_rows(data, "x")]
    labels = ["O", "B-PER", "B-LOC"]
    expected = [LabelledSpan("LOC", 1, 2)] if num_names == 3 else []
    assert [*read_rows(data, "x", labels)] == [(["a", "a"], expected)]


def test_string_tags_are_completed_over_all_splits():
    data = {"a": words_and("ner_tags", ["O", "S-PER"]), "b": words_and("ner_tags", ["B-LOC", "E-LOC"])}
    assert infer_labels(data) == ["O", *(f"{p}-{label}" for label in ("LOC", "PER") for p in "BIES")]
    assert infer_labels(words_and("ner_tags", ["place", "O", "person"])) == ["O", "person", "place"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (words_and("ner_tags", [0, 1]), ValueError, "integers without names: cast .*, or pass labels="),
        (words_and("ner_tags", ["O", "O"]), ValueError, "there are no entities in the"),
        (words_and("entities", []), ValueError, "there are no entities in the"),
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
        ([], ValueError, r"data has no rows: \[\] was passed"),
        (["a"], TypeError, "not a list with 'a' as item 0: pass a list of dicts"),
        ([{"tokens": ["a"]}], ValueError, r"the annotated data has the columns \['tokens'\], but annotated data has"),
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
