"""Names of labels that are numbers come in several forms, and wrong ones are refused."""

import json

import pytest

from span_marker.data.label_names import name_label, read_label_names, strip_label


def test_all_forms_mean_the_same(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"0": "O", "1": "PER"}), encoding="utf-8")
    doccano = [{"id": 0, "text": "O"}, {"id": 1, "text": "PER"}]
    for labels in ({0: "O", 1: "PER"}, {"0": "O", "1": "PER"}, ["O", "PER"], doccano, path, str(path)):
        assert read_label_names(labels) == {0: "O", 1: "PER"}
    assert read_label_names(None) is None
    assert name_label("PER", None, "here") == "PER"


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (7, TypeError, "labels= must be a dict of numbers and names, a list of names, or doccano's .*, not 7"),
        ({"PER": 1}, TypeError, "labels= must be a dict of numbers and names"),
        ([{"id": 1}], TypeError, "labels= must be"),
        ([{"id": 1, "text": "A"}, {"id": 1, "text": "B"}], ValueError, "labels= has two names for a number"),
    ],
)
def test_other_forms_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        read_label_names(labels)


def test_a_file_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("PER\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"labels='.*x\.json', line 1 is not JSON"):
        read_label_names(tmp_path / "x.json")


@pytest.mark.parametrize("label", ["PER", "New York", "a\u200bb"])
@pytest.mark.parametrize("edge", ["", " ", "\u00a0", "\ufeff\t", "\u200b"])
def test_what_cannot_be_seen_at_the_edges_of_a_label_is_stripped(label, edge):
    assert strip_label(f"{edge}{label}{edge}") == label
    assert strip_label(edge) == edge
