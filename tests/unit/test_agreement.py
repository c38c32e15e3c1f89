"""Agreement of two annotators, and what they are to settle."""

import math

import pytest
from annotation_files import entity, word_rows
from hypothesis import given
from hypothesis import strategies as st

from span_marker.curation.agreement import cohen_kappa, compare_annotators

FIRST = [
    {"id": 1, "text": "Ann Lee met Bob in Köln.", "entities": [entity("PER", 0, 7), entity("PER", 12, 15)]},
    {"id": 2, "text": "Paris", "entities": [entity("LOC", 0, 5)]},
]
SECOND = [
    {"id": 2, "text": "Paris", "entities": [entity("PER", 0, 5)]},
    {"id": 1, "text": "Ann Lee met Bob in Köln.", "entities": [entity("PER", 4, 7), entity("PER", 12, 15)]},
]


def test_entities_words_and_disagreements():
    report = compare_annotators(FIRST, SECOND, ("A", "B"))
    assert report.strict == (1 / 3, 1 / 3, 1 / 3)
    assert report.boundaries == (2 / 3, 2 / 3, 2 / 3)
    assert [(item.row, item.id, item.outcome.kind) for item in report.disagreements] == [
        (0, 1, "wrong-boundaries"),
        (1, 2, "wrong-label"),
    ]
    person = report.labels["PER"]
    assert (person.first, person.second, person.spans.f1) == (2, 3, 0.4)
    assert person.kappa == cohen_kappa(3, 3, 2, 8)  # Ann Lee met Bob in Köln . Paris
    assert "row 1: A: LOC 'Paris'; B: PER 'Paris'" in str(report)


def test_the_page_has_both_annotations(tmp_path):
    compare_annotators(FIRST, SECOND, ("A", "B")).write_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "A: LOC" in page
    assert "B: PER" in page


@st.composite
def pairs(draw):
    row = draw(word_rows(min_words=1))
    entities = [e for e in row["entities"] if draw(st.booleans())]
    return row, {**row, "entities": entities}


@given(st.lists(pairs(), min_size=1, max_size=4))
def test_it_is_symmetric_and_complete_for_equal_annotations(rows):
    first, second = zip(*rows, strict=True)
    report, reverse = compare_annotators(first, second), compare_annotators(second, first)
    assert report.strict == (reverse.strict[1], reverse.strict[0], reverse.strict[2])
    assert {k: v.kappa for k, v in report.labels.items() if not math.isnan(v.kappa)} == {
        k: v.kappa for k, v in reverse.labels.items() if not math.isnan(v.kappa)
    }
    same = compare_annotators(first, first)
    assert not same.disagreements
    assert all(agreement.spans.f1 == 1 for agreement in same.labels.values())
    assert all(agreement.kappa == 1 or math.isnan(agreement.kappa) for agreement in same.labels.values())


@given(st.integers(1, 30).flatmap(lambda n: st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n)))
def test_kappa_is_what_its_definition_says(marks):
    total = len(marks)
    first, second = (sum(column) for column in zip(*marks, strict=True))
    observed = sum(a == b for a, b in marks) / total
    expected = (first * second + (total - first) * (total - second)) / total**2
    kappa = cohen_kappa(first, second, sum(a and b for a, b in marks), total)
    if math.isnan(kappa):
        assert expected == 1
    else:
        assert kappa == pytest.approx((observed - expected) / (1 - expected))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (SECOND[:1], "1 rows are from only one annotator, such as the one with the id 1"),
        (
            [SECOND[0], {**SECOND[1], "text": "Ann Lee met Bob in Bonn."}],
            "row 0: the texts differ from character 19 on",
        ),
        ([SECOND[0], SECOND[0]], "second: rows 0 and 1 both have the 'id' 2: keep one"),
        ([{**SECOND[0], "id": None}], "first has 2 rows, but second has 1"),
    ],
)
def test_other_rows_are_refused(second, message):
    with pytest.raises(ValueError, match=message):
        compare_annotators(FIRST, second)


def test_an_id_that_cannot_be_looked_up():
    with pytest.raises(TypeError, match=r"second: row 1 has the 'id' \[1\]: it must be a string or a number"):
        compare_annotators(FIRST, [SECOND[0], {**SECOND[1], "id": [1]}])


def test_tables_are_read_by_row():
    pandas = pytest.importorskip("pandas")
    tables = [pandas.DataFrame(rows) for rows in (FIRST, SECOND)]
    assert compare_annotators(*tables) == compare_annotators(FIRST, SECOND)
    with pytest.raises(TypeError, match="second, row 0: a row must be a dict, not str"):
        compare_annotators(FIRST, {"train": SECOND})


ANN = {"text": "Ann went", "entities": [entity("PER", 0, 3)]}


def test_white_space_at_the_edges_of_entities_does_not_count():
    report = compare_annotators([ANN], [{**ANN, "entities": [entity("PER", 0, 4)]}])
    assert report.strict.f1 == 1
    assert not report.disagreements


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"text": "x" * 99 + "é", "entities": []}, {"text": "x" * 99 + "e\u0301", "entities": []},
         r"row 0: the texts differ from character 99 on: '\\xe9' of A, but 'e\\u0301' of B"),
        (ANN, {"tokens": ["Ann", "went"], "entities": []}, "row 0 has text from A, but words from B: pass both"),
        ({"tokens": ["a b", "c"], "entities": []}, {"tokens": ["a", "b c"], "entities": []}, "row 0: the words from"),
        ({"id": 1, **ANN}, {"id": "1", **ANN}, "2 rows.*the id 1 from A: remove them, and use one type for all IDs"),
    ],
)  # fmt: skip
def test_an_error_says_what_is_not_the_same(first, second, message):
    with pytest.raises(ValueError, match=message):
        compare_annotators([first], [second], ("A", "B"))


@pytest.mark.parametrize("names", ["AB", ("A", "A"), ("A", "B", "C")])
def test_annotators_have_two_names(names):
    with pytest.raises(ValueError, match="must be two different names"):
        compare_annotators([ANN], [ANN], names)
