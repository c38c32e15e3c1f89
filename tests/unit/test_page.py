"""Pages of reports: all errors are on them, figures are drawn to scale, and nothing else is needed."""

import re
import tempfile
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import contrast, has_class, mix, read_marks, read_page, text_of
from reports import few, report_on, sentences

from span_marker.core.labels import LabelledSpan
from span_marker.data.html import HUES, INK, PAPER
from span_marker.error_analysis.matching import JudgedSentence, match
from span_marker.error_analysis.page import RIGHT, STRONGEST, WRONG
from span_marker.error_analysis.report import NOTHING, REASONS, ErrorReport


def write_and_read(report, folder, **options):
    report.write_html(folder / "errors.html", **options)
    assert [folder / "errors.html"] == list(folder.iterdir())
    return read_page(folder / "errors.html")


def table_of(page, name):
    """The cells of a table, its head first."""
    [region] = [element for element in page.iter("div") if element.get("aria-label") == name]
    return [[" ".join(text_of(cell).split()) for cell in row] for row in region.iter("tr")]


def errors_of(page, kind):
    """Of each error its caption, its letters with the numbers of their lines, and its labels."""
    [section] = [element for element in page.iter("section") if element.find("h2").get("id") == kind]
    found = []
    for figure in section.iter("figure"):
        letters, labels = read_marks(figure.find("p"))
        found.append((text_of(figure.find("figcaption")), letters, [text_of(label) for _, label in labels]))
    return found


def test_a_page_is_well_formed_and_needs_nothing_else(tmp_path):
    label, text = "<b>&\"'", '<script>alert("1")</script> &amp; שלום עולם'
    gold = [LabelledSpan(label, 0, 27), LabelledSpan("קטן", 34, 38)]
    found = [LabelledSpan(label, 8, 27), LabelledSpan("קטן", 39, 43)]
    sentences = [JudgedSentence(text, match(gold, found), "<dev>", 3), JudgedSentence("x", [], "test", 0)]
    report = ErrorReport.from_sentences(
        sentences, dict.fromkeys(REASONS, 2), num_resamples=10, model_name="<i>m", dataset_name="&d"
    )
    report = replace(report, date=date(2031, 2, 3))
    page = write_and_read(report, tmp_path, title="Fish & <Chips>")
    source = (tmp_path / "errors.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<link|<script|<img|src=|href=(?!\"#)|@import|url\(|onclick", source)
    assert page.find(".//title").text == page.find(".//h1").text == "Fish & <Chips>"
    facts = [" ".join(text_of(element).split()) for element in page.iter("dd")]
    assert facts == ["<i>m", "&d · <dev>: 1 sentence, test: 1 sentence", "2 gold, 2 predicted", "2031-02-03"]
    assert table_of(page, "By label")[1][0] == table_of(page, "Gold and predicted labels")[0][1] == label
    [(caption, letters, labels)] = errors_of(page, "wrong-boundaries")
    assert caption == "row 3 of the <dev> data"
    assert labels == [f"predicted {label}", f"gold {label}"]
    assert "".join(letter for letter, _ in letters) == text
    for number, expected in ((1, '<script>alert("1")</script>'), (0, 'alert("1")</script>')):
        assert "".join(letter for letter, lines in letters if number in dict(lines)) == expected
    assert errors_of(page, "missed")[0][2] == ["gold קטן"]
    assert errors_of(page, "spurious")[0][2] == ["predicted קטן"]
    paragraphs = [" ".join(text_of(element).split()) for element in page.iter("p")]
    assert "Gold entities out of reach of the model: 10 of 2, so that recall is at most -4.00" in paragraphs
    assert {element.get("href")[1:] for element in page.iter("a")} == {"wrong-boundaries", "missed", "spurious"}


def test_bars_and_cells_are_in_proportion(tmp_path):
    gold = [LabelledSpan("X", 0, 1), LabelledSpan("X", 2, 3), LabelledSpan("Y", 4, 5), LabelledSpan("Y", 6, 7)]
    report = report_on([(gold, [gold[0], LabelledSpan("Y", 2, 3), *gold[2:]])])
    page = write_and_read(report, tmp_path)
    families = (report.measures, report.labels, report.entity_lengths, report.sentence_lengths)
    bars = list(page.iter("svg"))
    assert len(bars) == sum(map(len, families))
    assert bars[0].find("rect[@class='fill']").get("width") == "150.0"  # F1 of 0.75, of 200 pixels
    assert text_of(bars[0].find("title")) == "0.75 [0.75, 0.75]"
    names = ["X", "Y", NOTHING]
    cells = [cell for table in page.iter("table") if has_class(table, "matrix") for cell in table.iter("td")]
    shares = [50, 50, 0, 0, 100, 0, 0, 0, 0]
    for (row, column), cell, share in zip(product(range(3), repeat=2), cells, shares, strict=True):
        number = report.confusion[row, column]
        assert cell.get("title") == f"{names[row]}, predicted {names[column]}: {number}, {share}% of the row"
        assert (cell.text or "") == (str(number) if number else "")
        assert cell.get("style") == f"--share: {STRONGEST * share / 100}%"
        assert has_class(cell, f"c{RIGHT if row == column else WRONG}")


@pytest.mark.parametrize("mode", [0, 1])
def test_numbers_can_be_read_on_every_cell(mode):
    for color in (RIGHT, WRONG):
        assert contrast(INK[mode], mix(HUES[color][mode], STRONGEST, PAPER[mode])) >= 4.5


@pytest.mark.parametrize(
    ("num_sentences", "figure", "share"),
    [(35, "0.67", "50%"), (100, "0.67", "50%"), (432, "0.667", "50.0%"), (1001, "0.6667", "50.00%")],
)
def test_decimals_suit_the_number_of_sentences(num_sentences, figure, share, tmp_path):
    gold = [LabelledSpan("X", 0, 1), LabelledSpan("X", 2, 3)]
    page = write_and_read(report_on([(gold, gold[:1])] * num_sentences, num_resamples=2), tmp_path)
    assert table_of(page, "By label")[1][5] == f"{figure} [{figure}, {figure}]"
    assert table_of(page, "Outcomes")[1][1:3] == [f"{num_sentences:,}", share]
    assert f"F1 {figure} [{figure}, {figure}]" in [" ".join(text_of(item).split()) for item in page.iter("li")]


@given(sentences, st.integers(1, 3))
@few
def test_all_errors_are_on_the_page(pairs, num_examples):
    report = report_on(pairs, num_examples=num_examples)
    with tempfile.TemporaryDirectory() as folder:
        page = write_and_read(report, Path(folder))
    for kind, number in report.kinds.items():
        if number and kind != "correct":
            found = errors_of(page, kind)
            expected = [
                [f"{role} {span.label}" for role, span in zip(("gold", "predicted"), outcome[1:], strict=True) if span]
                for sentence in report.sentences
                for outcome in sentence.outcomes
                if outcome.kind == kind
            ]
            assert sorted(map(sorted, (labels for *_, labels in found))) == sorted(map(sorted, expected))
            [section] = [element for element in page.iter("section") if element.find("h2").get("id") == kind]
            groups = report.by_kind(kind)
            assert len(section.findall("figure")) == min(len(groups), num_examples)
            assert len(section.findall("details/figure")) == max(len(groups) - num_examples, 0)


def test_errors_that_are_alike_are_folded(tmp_path):
    gold = [LabelledSpan("X", 0, 1)]
    page = write_and_read(report_on([(gold, [])] * 3), tmp_path)
    assert [caption for caption, *_ in errors_of(page, "missed")] == [
        "3× · row 0 of the annotated data",
        "row 1 of the annotated data",
        "row 2 of the annotated data",
    ]
    assert [text_of(element) for element in page.iter("summary")] == ["2 more like this"]
    (tmp_path / "errors.html").unlink()
    assert not list(write_and_read(report_on([(gold, [])] * 3, num_examples=0), tmp_path).iter("figure"))


def test_a_page_without_any_entity(tmp_path):
    page = write_and_read(report_on([([], [])]), tmp_path)
    assert "0 gold, 0 predicted" in [text_of(element) for element in page.iter("dd")]
    assert not [table for table in page.iter("table") if has_class(table, "matrix")]
