"""Labels of relations, from data of any form."""

import pytest
from annotation_files import entity, relation
from datasets import Dataset
from tiny import build_model, build_tokenizer

from span_marker import SpanMarkerModel, infer_relation_labels
from span_marker.core.relations import NO_RELATION

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
        ([WITHOUT], "there are no relations in the annotated data"),
        ({"train": [{**ROW, "relations": []}], "dev": [WITHOUT]}, "there are no relations in the train and dev data"),
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


def test_a_model_takes_its_labels_from_data(tmp_path):
    model = build_model("bert")
    model.encoder.save_pretrained(tmp_path)
    build_tokenizer("wordpiece").save_pretrained(tmp_path)
    for data in ([ROW], Dataset.from_list([ROW]), {"train": [ROW], "dev": [WITHOUT]}):
        config = SpanMarkerModel.from_pretrained(tmp_path, labels=data, relation_labels=data).config
        assert (config.classes, config.relation_labels) == (["O", "PER"], [NO_RELATION, "knows", "saw"])
        assert config.entity_max_length == "auto"
    with pytest.raises(ValueError, match="there are no relations in the annotated data"):
        SpanMarkerModel.from_pretrained(tmp_path, labels=[ROW], relation_labels=[WITHOUT])


def test_data_may_name_the_relations_of_a_checkpoint(tmp_path):
    build_model("bert", labels=["O", "PER"], relation_labels=["saw", "knows"]).save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path, relation_labels=[ROW])
    assert loaded.config.relation_labels == [NO_RELATION, "saw", "knows"]
    with pytest.raises(ValueError, match=r"has relation_labels=\['no relation', 'saw', 'knows'\], not \['x'\]"):
        SpanMarkerModel.from_pretrained(tmp_path, relation_labels=[{**ROW, "relations": [relation("x", 0, 1)]}])
