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
from span_marker.error_analysis.bootstrap import Estimate
from span_marker.error_analysis.matching import JudgedSentence, match
from span_marker.error_analysis.page import RIGHT, STRONGEST, WRONG, num_decimals
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
    [section] = [element for element in page.iter("section") if element.get("id") == kind]
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
    assert not re.search(r"https?:|<link|<script|<img|src=|href=(?!\"#)|@import|url\(", source)
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
    assert "Gold entities out of reach of the model: 10 of 2, so recall is at most -400%" in paragraphs
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    targets = [element.get("href")[1:] for element in page.iter("a")]
    assert len(set(ids)) == len(ids)
    assert set(targets) <= set(ids)
    assert {"wrong-boundaries", "missed", "spurious", "errors", "by-0", "confusions"} <= set(targets)
    assert ids.index("overview") < ids.index("errors") < ids.index("missed") < ids.index("by-0")


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


def test_the_lines_of_bars_are_intervals(tmp_path):
    gold = [LabelledSpan("X", 0, 1)]
    report = report_on([(gold, gold)] * 4 + [(gold, [])])
    f1 = report.overall.f1
    assert 0 < f1.low < f1.high
    bar = next(write_and_read(report, tmp_path).iter("svg"))
    low, high = re.match(r"M([\d.]+) 8H([\d.]+)M", bar.find("path").get("d")).groups()
    assert [float(low), float(high)] == pytest.approx([200 * f1.low, 200 * f1.high], abs=0.05)


@pytest.mark.parametrize("mode", [0, 1])
def test_numbers_can_be_read_on_every_cell(mode):
    for color in (RIGHT, WRONG):
        assert contrast(INK[mode], mix(HUES[color][mode], STRONGEST, PAPER[mode])) >= 4.5


@given(st.floats(0, 1), st.floats(0, 1))
def test_half_of_an_interval_has_one_significant_digit(first, second):
    low, high = sorted((first, second))
    decimals, half = num_decimals(Estimate(low, low, high, 0.0)), (high - low) / 2
    assert 2 <= decimals <= 4
    if decimals < 4 and half:
        assert half * 10**decimals >= 1
    if decimals > 2:
        assert half * 10 ** (decimals - 1) < 1


@pytest.mark.parametrize(("num_sentences", "decimals"), [(35, 2), (432, 2), (4000, 3)])
def test_decimals_suit_the_interval(num_sentences, decimals, tmp_path):
    gold = [LabelledSpan("X", 0, 1), LabelledSpan("X", 2, 3)]
    pairs = [(gold, gold[: place % 3]) for place in range(num_sentences)]
    report = report_on(pairs, num_resamples=50, num_examples=0)
    page = write_and_read(report, tmp_path)
    shown = "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*report.overall.f1, d=decimals)
    assert f"F1 {shown}" in [" ".join(text_of(item).split()) for item in page.iter("li")]
    assert table_of(page, "By measure")[1][5] == shown
    share = report.kinds["correct"] / report.overall.num_gold
    assert table_of(page, "Outcomes")[1][1:3] == [f"{report.kinds['correct']:,}", f"{share:.{decimals - 2}%}"]


def test_errors_can_be_filtered_by_kind_and_label(tmp_path):
    x, y, z = (LabelledSpan(label, place, place + 1) for place, label in enumerate("XYZ"))
    report = report_on([([x, y, z], [x._replace(label="Y"), y])] + [([y], [])] * 2 + [([x], [])])
    page = write_and_read(report, tmp_path)
    [kinds, labels] = [[" ".join(text_of(row).split()) for row in form.iter("label")] for form in page.iter("form")]
    assert kinds == ["wrong-label 1", "missed 4"]
    assert labels == ["X 2", "Y 3", "Z 1"]
    classes = {figure.get("class") for figure in page.iter("figure") if figure.get("class")}
    assert classes == {"error e0 e1", "error e0", "error e1", "error e2"}
    assert [box.get("id") for box in page.iter("input")] == ["kind-0", "kind-1", "label-0", "label-1", "label-2"]
    style = text_of(page.find(".//style"))
    assert ":root:has(#kind-1:not(:checked)) #missed { display: none; }" in style
    assert ":root:has(#label-2:checked) .e2 { display: block; }" in style  # an error is shown by any of its labels


@pytest.mark.parametrize("way", ["page", "report"])
def test_a_page_without_examples_has_no_text_of_the_data(way, tmp_path):
    gold = [LabelledSpan("X", 0, 1)]
    words = [f"zebedee{place}" for place in range(8)]
    report = ErrorReport.from_sentences(
        [JudgedSentence(words, match(gold, []))], num_resamples=20, num_examples=10 if way == "page" else 0
    )
    page = write_and_read(report, tmp_path, **({"examples": False} if way == "page" else {}))
    assert "zebedee" not in (tmp_path / "errors.html").read_text(encoding="utf-8")
    assert table_of(page, "Outcomes")[5][:2] == ["missed", "1"]
    assert [element.get("href") for element in page.iter("a")] == [
        "#overview",
        *(f"#by-{n}" for n in range(4)),
        "#confusions",
    ]
    assert ("zebedee" in str(report)) == (way == "page")


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
            [section] = [element for element in page.iter("section") if element.get("id") == kind]
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
    assert [text_of(element) for element in page.iter("h3")] == ["missed (3): gold entities in no pair"]


def test_a_page_without_any_entity(tmp_path):
    page = write_and_read(report_on([([], [])]), tmp_path)
    assert {"0 gold, 0 predicted", "not named"} <= {text_of(element) for element in page.iter("dd")}
    assert not [table for table in page.iter("table") if has_class(table, "matrix")]
