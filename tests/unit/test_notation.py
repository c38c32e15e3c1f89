"""How tags are written, and tags that belong to no notation."""

import json

import pytest
from datasets import ClassLabel, Dataset, List
from helpers import arguments
from hypothesis import given
from hypothesis import strategies as st
from tiny import LABELS, build_model

from span_marker import SpanMarkerConfig, SpanMarkerModel, Trainer, infer_labels, read_annotations, validate
from span_marker.core.labels import reduce_labels
from span_marker.core.notation import BMEWO, UNNAMED, complete_labels, labels_like_tags, read_labels, read_notation

NAMES = st.lists(st.from_regex(r"[A-Z][a-zA-Z]{1,8}", fullmatch=True), min_size=1, max_size=4, unique=True)
SCHEMES = ["BI", "BIES", "BILU", "BMES", "BMEW"]

STRAYS = [
    "o", "-", "_", "", "B-", "I_PER", "b-PER", "X", "[CLS]", "<PAD>", "M-PER", "nan", "None", "PER", "PER-B",
    "B.PER", " ",
]  # fmt: skip


def written(letter, label, separator, is_suffix):
    return f"{label}{separator}{letter}" if is_suffix else f"{letter}{separator}{label}"


@given(NAMES, st.sampled_from(SCHEMES), st.sampled_from("-_./"), st.booleans())
def test_what_people_use_is_read(names, letters, separator, is_suffix):
    tags = [written(letter, name, separator, is_suffix) for name in names for letter in letters]
    notation = read_notation(["O", *tags])
    meaning = BMEWO if "M" in letters else {}
    expected = [f"{meaning.get(letter, letter)}-{name}" for name in names for letter in letters]
    assert not notation.strays
    assert [notation.renamed[tag] for tag in tags] == expected
    assert notation.renamed["O"] == "O"
    assert read_notation(notation.renamed.values()).renamed == {tag: tag for tag in ["O", *expected]}


@given(NAMES)
def test_plain_labels_stay(names):
    assert read_notation(["O", *names]).renamed == {name: name for name in ["O", *names]}
    assert complete_labels(names) == ["O", *sorted(names)]


@pytest.mark.parametrize(
    "labels",
    [
        "B-52 Concorde", "I-95 road", "B-52 I-95 Concorde", "e-mail phone", "PER B2B", "vitamin-B vitamin-E",
        "M-16 B-52", "S M L", "B-cell T-cell",
    ],
)  # fmt: skip
def test_labels_that_look_like_tags_stay_plain_beside_others(labels):
    labels = labels.split()
    assert read_notation(labels) == ({label: label for label in labels}, {})
    assert reduce_labels(["O", *labels])[0] == ["O", *labels]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ("B", "may be a prefix without a label or a plain label"),
        ("I", "may be a prefix without a label or a plain label"),
        ("B I PER", "'B' is a prefix without a label, but other tags are labels"),
        ("B I PER-CITY", "'B' is a prefix without a label, but other tags are labels"),
        ("b-per i-per", "has a lower-case prefix"),
        ("U-PER S-PER", "has the prefix"),
    ],
)
def test_what_may_mean_two_things_is_refused(tags, reason):
    with pytest.raises(ValueError, match=reason):
        read_labels(["O", *tags.split()])


@given(st.sets(st.text("BIOEM-_./aX", max_size=4) | st.sampled_from([*LABELS, *STRAYS]), min_size=1))
def test_reading_is_idempotent_and_accounts_for_every_tag(tags):
    renamed, strays = read_notation(sorted(tags))
    assert set(renamed) | set(strays) == tags
    assert not set(renamed) & set(strays)
    if not strays and len(set(renamed.values()) - {"O"}) == len(tags - {"O"}) > 0:
        read = read_labels(sorted(tags))
        assert read_labels(read) == read


@given(st.sets(st.text("BIOEMo-_./aX", min_size=1, max_size=4).filter(lambda label: label != "O"), min_size=1))
def test_labels_of_entities_are_the_classes_whatever_they_look_like(labels):
    completed = complete_labels(labels)
    assert read_labels(completed) == completed
    assert reduce_labels(completed)[0] == ["O", *sorted(labels)]


@pytest.mark.parametrize("letters", ["BI", "BM"])
def test_prefixes_alone_are_one_type(letters):
    assert set(read_notation(["O", *letters]).renamed.values()) == {"O", f"B-{UNNAMED}", f"I-{UNNAMED}"}


@pytest.mark.parametrize("stray", STRAYS)
class TestStrays:
    """One of them must not turn the scheme off, wherever it comes in."""

    TAGS = (["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "I-LOC", "O", "O"])

    def data(self, stray):
        return Dataset.from_dict({"tokens": [list("abcd")] * 3, "ner_tags": [*self.TAGS, ["O", stray, "O", "B-PER"]]})

    def test_tags_are_an_error_with_their_place(self, stray):
        with pytest.raises(ValueError, match=r"row 2 of the .* data.*: ") as caught:
            infer_labels(self.data(stray))
        assert repr(stray) in str(caught.value)
        assert "ner_tags" in str(caught.value)

    def test_validate_reports_the_row(self, stray):
        (problem,) = (found for found in validate(self.data(stray)).problems if found.severity == "error")
        assert problem.row == 2
        assert repr(stray) in problem.message

    def test_names_are_an_error(self, stray):
        names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", stray]
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the value is looked for
            SpanMarkerConfig(labels=names)
        assert repr(stray) in str(caught.value)

    def test_used_or_not_names_of_integers_are_an_error(self, stray):
        if stray in ("", " "):
            return  # datasets takes neither
        names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", stray]
        data = Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [[1, 2]]})
        data = data.cast_column("ner_tags", List(ClassLabel(names=names)))
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the value is looked for
            infer_labels(data)
        assert repr(stray) in str(caught.value)

    def test_trainer_refuses_it(self, stray, tmp_path):
        with pytest.raises(ValueError, match="row 2 of the training data"):
            Trainer(build_model(), arguments(tmp_path), self.data(stray)).train()

    def test_files_name_the_line(self, stray, tmp_path):
        rows = [{"tokens": list("abcd"), "ner_tags": tags} for tags in [*self.TAGS, ["O", stray, "O", "B-PER"]]]
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(ValueError, match="line 3"):
            read_annotations(tmp_path / "x.jsonl")


def test_other_notations_are_read_everywhere(tmp_path, caplog):
    tags = [["PER_B", "PER_I", "O", "LOC_B"], ["LOC_B", "LOC_I", "O", "O"]]
    data = Dataset.from_dict({"tokens": [list("abcd")] * 2, "ner_tags": tags})
    assert infer_labels(data) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert "'PER_B' as 'B-PER'" in caplog.text
    assert validate(data).is_clean
    (tmp_path / "x.conll").write_text("a PER_B\nb PER_I\nc O\n\nd LOC_B\ne LOC_I\n")
    read = read_annotations(tmp_path / "x.conll")
    assert [[(e["label"], e["start"], e["end"]) for e in row] for row in read["entities"]] == [
        [("PER", 0, 2)],
        [("LOC", 0, 2)],
    ]
    trainer = Trainer(build_model(), arguments(tmp_path), data)
    trainer.train()


def test_ignored_tokens_say_what_they_are(tmp_path):
    data = Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [[1, -100]]})
    with pytest.raises(ValueError, match="marks a word without annotation, but every word needs a tag"):
        Trainer(build_model(), arguments(tmp_path), data).train()


def test_outside_is_added(caplog):
    assert read_labels(["PER", "LOC"]) == ["O", "PER", "LOC"]
    assert "'O' is added" in caplog.text
    assert SpanMarkerConfig(labels=["PER", "LOC"]).classes == ["O", "PER", "LOC"]


def test_a_trained_model_gets_other_labels(tmp_path, caplog):
    model = build_model()
    model.config.thresholds = {"PER": 0.4, "ORG": 0.5, "LOC": 0.6}
    model.save_pretrained(tmp_path)
    same = SpanMarkerModel.from_pretrained(tmp_path, labels=LABELS)
    assert same.labels == model.labels
    assert "new and must be trained" not in caplog.text
    changed = SpanMarkerModel.from_pretrained(
        tmp_path, labels=["O", "B-DATE", "I-DATE", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    )
    assert set(changed.labels) == {"DATE", "LOC", "PER"}
    assert "['DATE'] are new and must be trained, ['ORG'] are dropped" in caplog.text
    assert changed.config.thresholds == {"PER": 0.4, "LOC": 0.6}
    for label in ("O", "LOC", "PER"):
        new, old = changed.config.classes.index(label), model.config.classes.index(label)
        assert changed.classifier.weight[new].equal(model.classifier.weight[old])
        assert changed.classifier.bias[new].equal(model.classifier.bias[old])
    changed.save_pretrained(tmp_path / "changed")
    assert SpanMarkerModel.from_pretrained(tmp_path / "changed").labels == changed.labels


def test_some_labels_may_have_thresholds():
    model = build_model()
    words = [["Amelia", "Earhart", "flew", "to", "Paris"]]
    (found,) = model.predict(words, decoding="overlapping", exact=True)
    label = found[0]["label"]
    (other,) = model.predict(words, threshold={label: 1.0}, decoding="overlapping", exact=True)
    assert [e for e in other if e["label"] != label] == [e for e in found if e["label"] != label]
    assert not [e for e in other if e["label"] == label]
    with pytest.raises(ValueError, match=r"contains the labels \['XYZ'\], but the model has"):
        model.predict(words, threshold={"XYZ": 0.5})


@pytest.mark.parametrize("scheme", SCHEMES[:4])
@given(names=NAMES)
def test_labels_with_the_prefixes_of_a_scheme_look_like_tags(scheme, names):
    tags = [f"{prefix}-{name}" for name in names for prefix in scheme]
    assert labels_like_tags([*tags, "Concorde"]) == tags
    assert labels_like_tags(names) == []


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["B-PER", "I-PER", "LOC"], ["B-PER", "I-PER"]),
        (["PER_B", "PER_I"], ["PER_B", "PER_I"]),
        (["B-PER", "B-LOC"], ["B-PER", "B-LOC"]),
        (["I-PER", "S-LOC"], ["I-PER", "S-LOC"]),
        (["B-PER", "LOC"], []),
        (["B", "I"], ["B", "I"]),
        (["B-cell"], []),
        (["B-cell", "T-cell"], []),
        (["B-52", "Concorde"], []),
        ([], []),
    ],
)
def test_a_prefix_alone_is_no_sign_of_tags(labels, found):
    assert labels_like_tags(labels) == found


def test_labels_like_tags_are_told_wherever_labels_are_inferred(caplog):
    entities = [{"label": f"{letter}-PER", "start": place, "end": place + 1} for place, letter in enumerate("BI")]
    rows = [{"tokens": ["Ann", "Lee"], "entities": entities}]
    assert infer_labels(rows) == ["O", "B-B-PER", "I-B-PER", "B-I-PER", "I-I-PER"]
    assert "The entity labels ['B-PER', 'I-PER'] look like tags of words" in caplog.text
    problems = validate(rows).by_kind("tag-label")
    assert [problem.label for problem in problems] == ["B-PER", "I-PER"]
