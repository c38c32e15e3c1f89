"""Arcs of relations: over their entities, none upon another, and all of them on the page."""

from hypothesis import given
from hypothesis import strategies as st
from pages import read_page, text_of

from span_marker.data.arcs import LONGEST_TEXT, arc_levels, draw_arcs
from span_marker.data.html import write_html
from span_marker.data.row_relations import RowRelation

ENDS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda pair: pair[0] != pair[1]), max_size=9)


@given(ENDS)
def test_arcs_of_one_level_do_not_overlap(ends):
    levels = arc_levels(ends)
    assert sorted(set(levels)) == list(range(max(levels, default=-1) + 1))
    for index, (one, level) in enumerate(zip(ends, levels, strict=True)):
        for other, same in zip(ends[:index], levels[:index], strict=True):
            if level == same:
                assert max(one) <= min(other) or max(other) <= min(one)


@given(ENDS, st.lists(st.text(max_size=50), min_size=7, max_size=7))
def test_arcs_lead_from_head_to_tail_and_stay_inside(ends, texts):
    relations = [RowRelation(f"r{number}", *pair) for number, pair in enumerate(ends)]
    diagram = draw_arcs([(text, "X", 0) for text in texts], relations)
    if not ends:
        assert diagram is None
        return
    chosen = sorted({end for pair in ends for end in pair})
    boxes = dict(zip(chosen, diagram.boxes, strict=True))
    edges = [edge for box in diagram.boxes for edge in (box.x, box.x + box.width)]
    assert edges == sorted(edges)
    assert 0 < edges[0] <= edges[-1] <= diagram.width
    assert all(len(box.text) <= LONGEST_TEXT for box in diagram.boxes)
    for arc, relation in zip(diagram.arcs, relations, strict=True):
        for place, end in ((arc.start, relation.head), (arc.end, relation.tail)):
            assert boxes[end].x <= place <= boxes[end].x + boxes[end].width
        assert 0 < arc.y < diagram.top < diagram.height
        assert arc.label == relation.label
        assert arc.title.startswith(texts[relation.head])


def test_a_page_has_all_relations_and_says_them(tmp_path, caplog):
    entities = [{"label": "PER", "start": 0, "end": 1}, {"label": "ORG", "start": 2, "end": 3}]
    relations = [{"label": "<runs>", "head": 0, "tail": 1, "score": 0.75}, {"label": "of", "head": 1, "tail": 0}]
    rows = [
        {"tokens": ["Ann", "runs", "Acme"], "entities": entities, "relations": relations},
        {"tokens": ["Ann"], "entities": entities[:1], "relations": []},
    ]
    write_html(tmp_path / "x.html", rows)
    page = read_page(tmp_path / "x.html")
    first, second = page.iter("figure")
    [drawing] = first.iter("svg")
    assert drawing.get("aria-label") == "Ann → <runs> → Acme (0.750); Acme → of → Ann"
    shown = [text_of(element) for element in drawing.iter("text")]
    assert shown == ["<runs>", "of", "Ann", "PER", "Acme", "ORG"]
    assert not list(second.iter("svg"))
    assert "2 texts, 3 entities, 2 relations" in text_of(page)
    assert not caplog.records, "relations are written"
    write_html(tmp_path / "x.html", [{**row, "relations": []} for row in rows])
    text = (tmp_path / "x.html").read_text()
    assert "relation" not in text
