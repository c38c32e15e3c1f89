"""Labels of relations, from data of any form."""

import pytest
from annotation_files import entity, relation
from datasets import Dataset

from span_marker import infer_relation_labels

ROW = {
    "tokens": ["Ann", "saw", "Bob"],
    "entities": [entity("PER", 0, 1), entity("PER", 2, 3)],
    "relations": [relation("saw", 0, 1), relation("knows", 1, 0)],
}
WITHOUT = {name: ROW[name] for name in ("tokens", "entities")}
TAGS = {"tokens": ["Ann"], "ner_tags": ["B-PER"]}


def test_labels_of_all_splits_are_listed_once():
    other = {"text": "Ann saw Bob", "entities": [entity("PER", 0, 3), entity("PER", 8, 11)]}
    data = {
        "train": [ROW, ROW],
        "dev": Dataset.from_list([{**other, "relations": [relation("a", 0, 1)]}]),
        "more": [WITHOUT],
        "tags": [TAGS],
    }
    assert infer_relation_labels(data) == ["a", "knows", "saw"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([WITHOUT], "there is no relation in the annotated data"),
        ({"train": [{**ROW, "relations": []}], "dev": [WITHOUT]}, "there is no relation in the train and dev data"),
        (
            [{**ROW, "relations": [relation("saw", 0, 2)]}],
            "row 0 of the annotated data: relation 0 .* 'tail' 2",
        ),
        ([{**TAGS, "relations": [1]}], "the annotated data has 'ner_tags' and 'relations', but"),
    ],
)
def test_data_without_relations_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        infer_relation_labels(data)
