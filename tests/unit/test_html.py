"""Pages of annotated texts: they show each text exactly, mark its entities, and need nothing else."""

import re
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from annotation_files import ANY_LABELS, TEXTS, entity, lists_of, text_rows, word_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import contrast, has_class, label_number, mix, read_marks, read_page, text_of

from span_marker.data.html import HUES, TINT, Mark, draw, write_html, write_page
from span_marker.data.rows import as_text, distinct, parse_row


def write_and_read(rows, **options):
    with tempfile.TemporaryDirectory() as folder:
        write_html(Path(folder) / "x.html", rows, **options)
        return read_page(Path(folder) / "x.html")


def named(page):
    """Labels by their numbers, and how often the legend says that they occur."""
    entries = [label for label in page.iter("label") if label.find("input") is not None]
    assert [entry.find("input").get("id") for entry in entries] == [f"l{number}" for number in range(len(entries))]
    return [(entry.find("bdi").text, int(entry.find("bdi").tail)) for entry in entries]


@settings(max_examples=100)
@given(lists_of(st.one_of(text_rows(), word_rows(words=TEXTS, labels=ANY_LABELS))))
def test_a_page_shows_each_text_exactly_and_marks_each_letter_of_an_entity(rows):
    page = write_and_read(rows)
    labels = named(page)
    shown = Counter()
    figures = [figure.find("p") for figure in page.iter("figure")]
    assert len(figures) == len(rows)
    for row, figure in zip(rows, figures, strict=True):
        text, entities = as_text(parse_row(row, "row"))
        entities = distinct(entities)
        letters, chips = read_marks(figure)
        assert "".join(letter for letter, _ in letters) == text.replace("\0", "\ufffd")
        for place, (_, inside) in enumerate(letters):
            covering = [entity.label for entity in entities if entity.start <= place < entity.end]
            assert sorted(labels[number][0] for number, _ in inside) == sorted(visible(covering))
            levels = {level for _, level in inside}
            assert len(levels) == len(inside), "no two lines on one level"
            assert levels <= set(range(int(figure.get("style").removeprefix("--depth: "))))
        found = [(place, chip.text) for place, chip in chips]
        assert sorted(found) == sorted((entity.end, *visible([entity.label])) for entity in entities)
        shown.update(entity.label for entity in entities)
    assert labels == [(*visible([label]), number) for label, number in sorted(shown.items())]


def visible(labels):
    return [label.replace("\0", "\ufffd") for label in labels]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=9, unique=True))
def test_lines_are_stacked_without_gaps_and_what_nests_is_nearer_to_the_text(pairs):
    marks = [Mark(start, min(start + length, 10), "X", number) for number, (start, length) in enumerate(pairs)]
    drawing = draw("0123456789", marks)
    stacked = {mark.number: mark for kind, mark in drawing.steps if kind == "open"}.values()
    assert len(stacked) == len(marks)
    assert drawing.depth == max((mark.level + 1 for mark in stacked), default=0)
    for mark in stacked:
        others = [other for other in stacked if other.start < mark.end and mark.start < other.end and other != mark]
        assert {other.level for other in others} >= set(range(mark.level)), "no lower level is free"
        for other in others:
            assert other.level != mark.level
            if mark.start <= other.start and other.end <= mark.end and mark[:2] != other[:2]:
                assert other.level < mark.level


def test_entities_that_cross_are_closed_and_opened_again():
    steps = draw("abcdef", [Mark(0, 4, "X", 0), Mark(2, 6, "Y", 1)]).steps
    short = [f"{kind} {value if kind == 'text' else value.label}" for kind, value in steps]
    assert short == (
        ["open X", "text ab", "open Y", "text cd", "label X", "close Y", "close X"]
        + ["open Y", "text ef", "label Y", "close Y"]
    )


def test_a_page_is_escaped_and_stands_alone(tmp_path):
    label = {"label": "<i>&\"' onclick=x", "start": 0, "end": 3, "score": 0.5}
    text = "<b> <script>alert(1)</script> &amp; {{ 7 * 7 }}"
    rows = [
        {"id": "<u>", "text": text, "entities": [label]},
        {"id": None, "text": text, "entities": [label, {"label": "</style>", "start": 0, "end": 12}]},
        {"id": "x", "tokens": ["القاهرة"], "entities": []},
    ]
    write_html(tmp_path / "x.html", rows, title="<h2> & more", columns=["id"])
    page = read_page(tmp_path / "x.html")
    known = {"html", "head", "meta", "title", "style", "body", "h1", "p", "form", "fieldset", "legend", "button"}
    assert {element.tag for element in page.iter()} == known | {
        *("label", "input", "bdi", "main", "figure", "figcaption", "mark", "span"),
    }
    names = {name for element in page.iter() for name in element.attrib if name.startswith("on")}
    assert names == {"onclick"}
    assert [element.tag for element in page.iter() if "onclick" in element.attrib] == ["button"]
    source = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert not re.search(r"src=|href=|url\(|@import|https?:", source)
    assert "default-src 'none'" in source
    assert page.find(".//title").text == page.find(".//h1").text == "<h2> & more"
    assert [text_of(caption) for caption in page.iter("figcaption")] == ["id: <u>", "id: x"]
    assert page.find(".//mark").get("title") == "<i>&\"' onclick=x, score 0.500"
    for paragraph in (figure.find("p") for figure in page.iter("figure")):
        assert (paragraph.get("dir"), paragraph.get("lang")) == ("auto", "")
    write_html(tmp_path / "y.html", rows, title="<h2> & more", columns=["id"])
    assert source == (tmp_path / "y.html").read_text(encoding="utf-8"), "colors are the same every time"


def test_scores_can_be_seen_heard_and_reached_by_keyboard():
    entities = [
        {"label": "person", "start": 0, "end": 3, "score": 0.98765},
        {"label": "place", "start": 4, "end": 7},
    ]
    first, second = write_and_read([{"text": "Ann Rom", "entities": entities}]).iter("mark")
    chip = first.find("bdi")
    assert first.get("title") == "person, score 0.988"
    assert (chip.get("tabindex"), text_of(chip)) == ("0", "person 0.988")
    assert second.get("title") is None
    assert (second.find("bdi").get("tabindex"), text_of(second.find("bdi"))) == (None, "place")


def test_every_label_has_a_switch_a_color_and_its_name():
    names = [f"label {number:02}" for number in range(20)]
    rows = [{"text": "abc", "entities": [{"label": name, "start": 0, "end": 1} for name in names]}] * 2
    page = write_and_read(rows)
    assert named(page) == [(name, 2) for name in names]
    assert all(box.get("checked") is not None for box in page.iter("input"))
    style = page.find(".//style").text
    rules = re.findall(r":root:has\(#l(\d+):not\(:checked\)\) \.l(\d+) {", style)
    assert rules == [(str(number), str(number)) for number in range(20)]
    for element in (*page.iter("mark"), *(bdi for bdi in page.iter("bdi") if len(bdi.get("class").split()) > 2)):
        assert has_class(element, f"c{label_number(element) % len(HUES)}")
    assert "form" not in {element.tag for element in write_and_read([{"text": "a", "entities": []}]).iter()}
    assert "0 texts, 0 entities" in text_of(write_and_read([]))


def test_colors_can_be_read_on_light_and_dark_paper():
    style = write_and_read([]).find(".//style").text
    light, dark = style.split("@media screen and (prefers-color-scheme: dark)")
    for part, scheme in ((light, "light"), (dark, "dark")):
        assert f"color-scheme: {scheme};" in part
        colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part))
        paper, ink = colors.pop("paper"), colors.pop("ink")
        assert contrast(ink, paper) > 12
        assert len(set(colors.values())) == len(HUES)
        for hue in colors.values():
            assert contrast(hue, paper) >= 4.5, "lines, and labels in the color of the paper"
            assert contrast(ink, mix(hue, TINT, paper)) >= 7, "text of entities"


def test_columns_are_captions():
    rows = [
        {"id": 7, "source": "a", "text": "x", "entities": []},
        {"id": 8, "source": None, "text": "y", "entities": []},
    ]
    captions = [text_of(caption) for caption in write_and_read(rows, columns=["id", "source"]).iter("figcaption")]
    assert captions == ["id: 7 · source: a", "id: 8"]
    assert not list(write_and_read(rows).iter("figcaption"))
    with pytest.raises(ValueError, match=r"row 0 has no column 'name', only \['id', 'source', 'text', 'entities'\]"):
        write_and_read(rows, columns=["name"])


def test_lone_surrogates_are_shown_as_replacements(tmp_path):
    write_html(tmp_path / "x.html", [{"text": "a\ud83d Köln", "entities": [entity("LO\udc00C", 3, 7)]}])
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "a\ufffd " in page
    assert "LO\ufffdC" in page


def test_a_page_is_written_piece_by_piece(tmp_path):
    sizes = []

    def drawings():
        for _ in range(5_000):
            yield draw("x" * 200, []), [], None
            sizes.append(next(tmp_path.glob("x.*.part")).stat().st_size)

    numbers = {"num_texts": 5_000, "num_relations": 0}
    write_page(tmp_path / "x", "data/entities.html", title="", labels=[], drawings=drawings(), **numbers)
    assert sizes[2_500] > 400_000
