import pytest
from datasets import Dataset
from tiny import build_model

from span_marker.preprocessing.features import prepare
from span_marker.validation.checks import validate

WORDS = [f"w{place}" for place in range(400)]


def entity(start, end, label="PER"):
    return {"label": label, "start": start, "end": end}


def data(*overlapping):
    """Entities of which those overlap, and many others."""
    others = [entity(place, place + 1) for place in range(40, 400)]
    return Dataset.from_list([{"tokens": WORDS, "entities": [*overlapping, *others]}])


NESTED = (entity(0, 3), entity(1, 2))
CROSSING = (entity(0, 3), entity(2, 5))


@pytest.mark.parametrize(
    ("decoding", "nested", "crossing"),
    [
        ("flat", "loss", "loss"),
        ("flat-optimal", "loss", "loss"),
        ("nested", "note", "loss"),
        ("overlapping",) + ("note",) * 2,
    ],
)
def test_overlaps_that_a_model_cannot_predict_are_losses(decoding, nested, crossing):
    model = build_model("bert", labels=["O", "PER"], entity_max_length=3, decoding=decoding)
    for overlapping, kind, severity in ((NESTED, "nested", nested), (CROSSING, "crossing", crossing)):
        report = validate(data(*overlapping), model)
        [problem] = report.by_kind(kind)
        assert problem.severity == severity
        assert report.is_clean == (severity == "note")
        assert problem.message.endswith(f"which decoding={decoding!r} cannot predict") == (severity == "loss")
        assert f"\n{severity}" in str(report)


@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize(("kind", "width"), [("nested", 0), ("crossing", 2)])
def test_an_open_decoding_is_that_which_the_training_data_sets(kind, width, number):
    overlapping = [
        entity(6 * place + at, 6 * place + at + size)
        for place in range(number)
        for at, size in ((0, 3), (1, 2 + width))
    ]
    rows = data(*overlapping)
    model = build_model("bert", labels=["O", "PER"], entity_max_length=3)
    _, summary = prepare(rows, model.preprocessor, "training")
    expected = "loss" if summary.decoding == "flat" else "note"
    for report in (validate(rows), validate(rows, model), validate({"train": rows, "dev": data(*NESTED)}, model)):
        assert [problem.severity for problem in report.by_kind(kind) if problem.split != "dev"] == [expected] * number
        assert {problem.severity for problem in report.by_kind("nested") if problem.split == "dev"} <= {expected}


def test_multi_label_models_are_nested_by_default():
    model = build_model("bert", labels=["O", "PER"], entity_max_length=3, multi_label=True)
    assert validate(data(*NESTED), model).is_clean
    assert not validate(data(*CROSSING), model).is_clean
