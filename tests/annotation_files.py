"""Rows of annotated data, drawn at random or ready-made, and files that they are written to and read from."""

import json
import tempfile
from pathlib import Path

from hypothesis import strategies as st

from span_marker.core.graphemes import whole_spans
from span_marker.data.files import read_annotations

TEXT = "Ann 👩‍👩‍👧 met Bob\nin Köln."
ANN, BOB, COLOGNE = ("PER", 0, 3), ("PER", 14, 17), ("LOC", 21, 25)


def entity(label, start, end):
    return {"label": label, "start": start, "end": end}


def read_lines(tmp_path, *records, **options):
    """Read a file of JSON Lines with these records."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return list(read_annotations(path, **options))


def read_text(tmp_path, content, name="data.conll", **options):
    """Read a file with this content."""
    path = tmp_path / name
    path.write_bytes(content.encode())
    return list(read_annotations(path, **options))


PIECES = [
    "Paris", " ", "  ", "\t", "\n", "\r\n", "\r", ".", "don't",
    "東京", "서울", "القاهرة", "ירושלים", "e\u0301", "👩‍👩‍👧", "🇫🇷",
    "\u200b", "\u200f", "\ufeff", "\u00a0", "\u2028", "\x85", "\x0b", "\x1c", "\x00",
    "#", "# a = b", "<b>", "&amp;", "\\n", '"',
]  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
)
WORDS = st.one_of(TEXTS, st.sampled_from(PIECES)).map(lambda text: "".join(text.split())).filter(bool)
CONLL_WORDS = WORDS.filter(lambda word: not word.startswith("\ufeff"))
LABELS = st.one_of(
    st.sampled_from(["PER", "LOC", "B-PER", "o", "a-b", "мітка"]), st.text("ab<&é-", min_size=1, max_size=4)
)
ANY_LABELS = st.one_of(LABELS, st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)).filter(
    lambda label: label != "O"
)


@st.composite
def entities_of(draw, length, labels=LABELS):
    """Entities in any places of a row: nested, crossing, twice, several labels of the same words."""
    if not length:
        return []
    found = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, length - 1))
        found.append({"label": draw(labels), "start": start, "end": draw(st.integers(start + 1, length))})
    return found


@st.composite
def word_rows(draw, words=WORDS, labels=LABELS, min_words=0):
    tokens = draw(st.lists(words, min_size=min_words, max_size=6))
    return {"tokens": tokens, "entities": draw(entities_of(len(tokens), labels))}


@st.composite
def text_rows(draw, labels=LABELS):
    """Texts with entities of whole graphemes: others are extended when they are read."""
    text = draw(TEXTS)
    entities = draw(entities_of(len(text), labels))
    places = whole_spans(text, [(item["start"], item["end"]) for item in entities])
    return {"text": text, "entities": [entity(item["label"], *place) for item, place in zip(entities, places)]}  # noqa: B905


@st.composite
def related(draw, rows, labels=LABELS, equal_ends=True):
    """Rows with relations between any two of their entities, which may be equal, some of them listed twice."""
    row = draw(rows)
    indices = range(len(row["entities"]))
    ends = [index if equal_ends else tuple(sorted(row["entities"][index].items())) for index in indices]
    pairs = [(head, tail) for head in indices for tail in indices if ends[head] != ends[tail]]
    found = draw(st.lists(st.tuples(labels, st.sampled_from(pairs)), max_size=4)) if pairs else []
    return {**row, "relations": [relation(label, *pair) for label, pair in found]}


def relation(label, head, tail):
    return {"label": label, "head": head, "tail": tail}


def related_spans(row):
    """The relations of a row as label, head and tail, whatever the order of its entities. Equal entities are one."""
    spans = [(item["label"], item["start"], item["end"]) for item in row["entities"]]
    ends = [(item["label"], spans[item["head"]], spans[item["tail"]]) for item in row.get("relations") or ()]
    return set(ends)


def lists_of(rows):
    return st.lists(rows, min_size=1, max_size=4)


def is_line(row):
    """Tell whether a text is what a file of lines can have: one line, not blank."""
    return bool(row["text"].strip()) and not set("\r\n") & set(row["text"])


def unique(entities):
    """Entities without repetitions, in the order of (start, -end, label)."""
    return sorted({(item["start"], -item["end"], item["label"]) for item in entities})


def round_trip(write, rows, name, **options):
    """Write rows to a file of this name, and read them back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, rows)
        return list(read_annotations(path, **options))


def flat(row):
    """The row without the entities that overlap one before them."""
    kept, behind = [], 0
    for start, end, label in unique(row["entities"]):
        if start >= behind:
            kept.append({"label": label, "start": start, "end": -end})
            behind = -end
    return {**row, "entities": kept}


def snap(row, nlp):
    """Widen entities to whole tokens."""
    tokens = [(token.idx, token.idx + len(token)) for token in nlp.make_doc(row["text"])]
    entities = []
    for entity in row["entities"]:
        covered = [(start, end) for start, end in tokens if start < entity["end"] and end > entity["start"]]
        if covered:
            entities.append({**entity, "start": covered[0][0], "end": covered[-1][1]})
    return {**row, "entities": entities}


SENTENCE = ["Ann", "met", "Bob"]
OF_WORDS = [
    {"span": ["Ann"], "label": "PER", "score": 0.75, "word_start_index": 0, "word_end_index": 1},
    {"span": ["Bob"], "label": "PER", "score": 0.5, "word_start_index": 2, "word_end_index": 3},
]
OF_TEXT = [
    {"span": "Ann", "label": "PER", "score": 0.75, "char_start_index": 0, "char_end_index": 3},
    {"span": "Bob", "label": "PER", "score": 0.5, "char_start_index": 8, "char_end_index": 11},
]
PREDICTIONS = [{"tokens": SENTENCE, "entities": OF_WORDS}, {"text": " ".join(SENTENCE), "entities": OF_TEXT}]
