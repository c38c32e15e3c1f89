"""What is written is read back as the same, in every format, whatever the text."""

import inspect
import json
import re
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import contrast, has_class, label_number, mix, read_marks, read_page, text_of

from span_marker.data.brat import write_brat
from span_marker.data.conll import write_conll
from span_marker.data.files import FORMATS, read_annotations, write_annotations
from span_marker.data.gliner import write_gliner
from span_marker.data.html import HUES, TINT, Mark, draw, write_html, write_page
from span_marker.data.jsonl import write_jsonl
from span_marker.data.rows import as_text, distinct, parse_row
from span_marker.data.spacy_docs import to_docs, write_docbin

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
    text = draw(TEXTS)
    return {"text": text, "entities": draw(entities_of(len(text), labels))}


def lists_of(rows):
    return st.lists(rows, min_size=1, max_size=4)


def unique(entities):
    return sorted({(item["start"], -item["end"], item["label"]) for item in entities})


def round_trip(write, rows, name, **options):
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


@settings(max_examples=30)
@given(st.one_of(lists_of(word_rows(words=TEXTS, labels=ANY_LABELS)), lists_of(text_rows(ANY_LABELS))))
def test_json_lines_are_read_back(rows):
    assert round_trip(write_jsonl, rows, "x.jsonl") == rows


def test_json_lines_keep_columns_scores_and_letters(tmp_path):
    row = {
        "id": 3,
        "text": "Köln",
        "entities": [{"end": 4, "label": "LOC", "start": 0, "score": 0.5, "x": 1}],
        "n": None,
    }
    write_jsonl(tmp_path / "x", iter([row]))
    line = (tmp_path / "x").read_text(encoding="utf-8")
    assert "Köln" in line
    entity = {"label": "LOC", "start": 0, "end": 4, "score": 0.5, "x": 1}
    assert json.loads(line) == {"id": 3, "text": "Köln", "entities": [entity], "n": None}


def test_json_lines_are_written_one_after_the_other(tmp_path):
    alive = []

    def rows():
        for index in range(20_000):
            alive.append(index)
            yield {"text": "x" * 100, "entities": []}
            if index == 10_000:
                assert (tmp_path / "x.part").stat().st_size > 500_000

    write_jsonl(tmp_path / "x", rows())
    assert len(alive) == len((tmp_path / "x").read_text().splitlines())


def test_arguments_the_wrong_way_round(tmp_path):
    with pytest.raises(TypeError, match="path, the first argument, must be one string or Path, not list"):
        write_jsonl([{"text": "a", "entities": []}], tmp_path / "x")


def test_a_bad_row_leaves_no_file_behind(tmp_path):
    rows = [{"text": "a", "entities": []}, {"text": "a", "entities": [{"label": "X", "start": 0, "end": 2}]}]
    (tmp_path / "before").write_text("kept")
    for write in (write_jsonl, write_html, write_docbin):
        with pytest.raises(ValueError, match="row 1: entity 'X' ends at character 2, but the row has only 1 char"):
            write(tmp_path / "before", rows)
    with pytest.raises(ValueError, match="row 1"):
        write_brat(tmp_path / "folder", rows)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("before", "kept")]


@settings(max_examples=30)
@given(lists_of(word_rows(CONLL_WORDS, min_words=1)))
def test_columns_are_read_back(rows):
    found = round_trip(write_conll, rows, "x.conll", tag_columns="all")
    assert [row["tokens"] for row in found] == [row["tokens"] for row in rows]
    assert [unique(row["entities"]) for row in found] == [unique(row["entities"]) for row in rows]
    assert all(len(row["entities"]) == len(unique(row["entities"])) for row in found)


@settings(max_examples=30)
@given(lists_of(word_rows(CONLL_WORDS, min_words=1)))
def test_flat_entities_need_one_column(rows):
    rows = [flat(row) for row in rows]
    assert round_trip(write_conll, rows, "x.conll") == rows


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_documents_are_read_back(document_ids):
    rows = [{"document_id": id_, "tokens": ["a"], "entities": []} for id_ in document_ids]
    found = round_trip(write_conll, rows, "x.conll", documents=True)
    changes = [index > 0 and document_ids[index] != document_ids[index - 1] for index in range(len(rows))]
    assert [row["document_id"] for row in found] == [sum(changes[: index + 1]) for index in range(len(rows))]
    assert [row["sentence_id"] == 0 for row in found] == [index == 0 or change for index, change in enumerate(changes)]


def test_columns_are_written_as_everyone_writes_them(tmp_path):
    places = {"X": (1, 2), "PER": (0, 1), "ORG": (0, 2)}
    nested = [{"label": label, "start": start, "end": end} for label, (start, end) in places.items()]
    rows = [
        {"tokens": ["Ann", "Lee"], "entities": nested, "document_id": "a"},
        {"tokens": ["#"], "entities": [], "document_id": "b"},
    ]
    write_conll(tmp_path / "x", rows)
    assert (tmp_path / "x").read_text() == (
        "-DOCSTART-\tO\tO\n\nAnn\tB-ORG\tB-PER\nLee\tI-ORG\tB-X\n\n-DOCSTART-\tO\tO\n\n#\tO\tO\n\n"
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "entities": []}, "row 0 has 'text', but CoNLL files have words"),
        ({"tokens": [], "entities": []}, "row 0 has no words"),
        ({"tokens": ["a", ""], "entities": []}, "row 0: the word ''"),
        ({"tokens": ["a b"], "entities": []}, "row 0: the word 'a b'"),
        ({"tokens": ["a\u2028b"], "entities": []}, "row 0: the word"),
        ({"tokens": ["-DOCSTART-"], "entities": []}, "row 0: the word '-DOCSTART-'"),
        ({"tokens": ["a"], "entities": [{"label": "X Y", "start": 0, "end": 1}]}, "row 0: the label 'X Y'"),
    ],
)
def test_what_columns_cannot_hold_is_refused(tmp_path, row, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        write_conll(tmp_path / "x", [row])
    assert not list(tmp_path.iterdir())


@settings(max_examples=30)
@given(
    lists_of(word_rows(words=TEXTS, labels=ANY_LABELS)),
    st.sampled_from(["x.jsonl", "x.json", "x"]),
    st.sampled_from(["gliner", "jsonl"]),
)
def test_gliners_data_is_read_back(rows, name, format):
    found = round_trip(write_gliner, rows, name, format=format)
    assert [row["tokens"] for row in found] == [row["tokens"] for row in rows]
    assert [unique(row["entities"]) for row in found] == [unique(row["entities"]) for row in rows]
    assert all(len(row["entities"]) == len(unique(row["entities"])) for row in found)


def test_gliners_data_is_written_as_gliner_loads_it(tmp_path):
    names = {"label": "PER", "start": 0, "end": 2, "score": 0.5}
    rows = [{"id": 1, "tokens": ["Ärzte", "Lee", "met"], "entities": [names, names]}, {"tokens": ["#"], "entities": []}]
    records = [
        {"tokenized_text": ["Ärzte", "Lee", "met"], "ner": [[0, 1, "PER"]]},
        {"tokenized_text": ["#"], "ner": []},
    ]
    write_annotations(tmp_path / "x.jsonl", rows, format="gliner")
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in lines.splitlines()] == records
    assert "Ärzte" in lines
    write_annotations(tmp_path / "x.json", rows, format="gliner")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == records
    write_annotations(tmp_path / "y.json", [], format="gliner")
    assert json.loads((tmp_path / "y.json").read_text(encoding="utf-8")) == []


def test_gliners_data_has_no_texts(tmp_path):
    rows = [{"tokens": ["a"], "entities": []}, {"text": "a", "entities": []}]
    with pytest.raises(ValueError, match=r"row 1 has 'text', but GLiNER's files have words: pass rows with 'tokens'"):
        write_annotations(tmp_path / "x.jsonl", rows, format="gliner")
    assert not list(tmp_path.iterdir())


@settings(max_examples=30)
@given(lists_of(text_rows(LABELS)))
def test_standoff_is_read_back(rows):
    found = round_trip(write_brat, rows, "folder")
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert [unique(row["entities"]) for row in found] == [unique(row["entities"]) for row in rows]


@settings(max_examples=30)
@given(lists_of(word_rows()))
def test_words_are_written_as_text(rows):
    found = round_trip(write_brat, rows, "folder")
    assert [row["text"].split(" ") if row["text"] else [] for row in found] == [row["tokens"] for row in rows]
    for row, text_row in zip(rows, found, strict=True):
        spans = {(e["label"], text_row["text"][e["start"] : e["end"]]) for e in text_row["entities"]}
        assert spans == {(e["label"], " ".join(row["tokens"][e["start"] : e["end"]])) for e in row["entities"]}


def test_a_byte_order_mark_is_a_character_of_a_document(tmp_path):
    row = {"id": "x", "text": "\ufeffAnn", "entities": [{"label": "PER", "start": 1, "end": 4}]}
    write_brat(tmp_path / "x", [row])
    assert list(read_annotations(tmp_path / "x")) == [row]


def test_documents_keep_their_names(tmp_path):
    rows = [{"id": name, "text": "a", "entities": []} for name in ("b.c", "a", 7)]
    write_brat(tmp_path / "x", rows)
    assert [row["id"] for row in read_annotations(tmp_path / "x")] == ["7", "a", "b.c"]
    with pytest.raises(FileExistsError, match="already has documents, such as"):
        write_brat(tmp_path / "x", rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a/b", "text": "a", "entities": []}], "row 0: the id 'a/b' is not a file name"),
        ([{"id": "..", "text": "a", "entities": []}], "is not a file name"),
        ([{"id": 1, "text": "a", "entities": []}] * 2, "row 1: the id '1' occurs twice"),
        ([{"text": "a", "entities": [{"label": "X Y", "start": 0, "end": 1}]}], "the label 'X Y' has white space"),
    ],
)
def test_what_standoff_cannot_hold_is_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write_brat(tmp_path / "x", rows)
    assert not list(tmp_path.iterdir())


# Every format


@settings(max_examples=30)
@given(st.data())
def test_every_format_writes_what_it_reads(nlp, data):
    kind = data.draw(st.sampled_from(FORMATS))
    format = None if kind.endings else kind.name
    name = f"x{data.draw(st.sampled_from(kind.endings or ('', '.jsonl', '.txt')))}"
    if kind.name in ("conll", "gliner"):
        rows = [flat(row) for row in data.draw(lists_of(word_rows(CONLL_WORDS, min_words=1)))]
    else:
        rows = [flat(snap(row, nlp)) for row in data.draw(lists_of(text_rows()))]
    found = round_trip(partial(write_annotations, format=format), rows, name, format=format)
    assert [unique(row["entities"]) for row in found] == [unique(row["entities"]) for row in rows]
    assert [row.get("text", row.get("tokens")) for row in found] == [row.get("text", row.get("tokens")) for row in rows]


def test_a_folder_is_written_as_brat(tmp_path):
    rows = [{"id": "x", "text": "a", "entities": []}]
    write_annotations(f"{tmp_path / 'made'}/", rows)
    (tmp_path / "empty").mkdir()
    write_annotations(tmp_path / "empty", rows)
    write_annotations(tmp_path / "named", rows, format="brat")
    assert all(list(read_annotations(tmp_path / name)) == rows for name in ("made", "empty", "named"))


def test_options_reach_the_writer_of_their_format(nlp, tmp_path):
    rows = [{"text": "can't", "entities": [{"label": "X", "start": 0, "end": 2}]}]
    english = pytest.importorskip("spacy").blank("en")
    write_annotations(tmp_path / "x.spacy", rows, nlp=english, spans_key="k")
    assert list(read_annotations(tmp_path / "x.spacy", spans_key="k")) == rows
    with pytest.raises(ValueError, match=r"nlp=.* means nothing for .*x\.jsonl, whose format is jsonl: leave it out"):
        write_annotations(tmp_path / "x.jsonl", rows, nlp=english)
    with pytest.raises(ValueError, match=r"ending of .*x\.csv does not say its format: pass format= one of"):
        write_annotations(tmp_path / "x.csv", rows)
    with pytest.raises(ValueError, match="format='bio' must be one of"):
        write_annotations(tmp_path / "x.csv", rows, format="bio")
    with pytest.raises(TypeError, match="path, the first argument, must be one string or Path, not list"):
        write_annotations(rows, tmp_path / "x")


def test_reading_options_are_those_of_the_formats():
    options = {name: default for kind in FORMATS for name, default in kind.options.items()}
    parameters = inspect.signature(read_annotations).parameters.values()
    assert options == {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}


@pytest.mark.parametrize("form", ["numpy", "torch", "pandas", "arrow"])
@pytest.mark.parametrize("write", [write_jsonl, write_conll, write_gliner, write_brat, write_docbin, write_html])
def test_the_format_and_the_form_of_a_data_set_change_nothing(nlp, tmp_path, write, form):
    entities = [[{"label": "PER", "start": 0, "end": 2}], []]
    data = Dataset.from_dict({"n": [1, 2], "tokens": [["Ann", "Lee", "left"], ["No"]], "entities": entities})
    names = ["O", "B-PER", "I-PER"]
    features = Features(
        {"n": Value("int64"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))}
    )
    tagged = {"n": [1, 2], "tokens": data["tokens"][:], "ner_tags": [[1, 2, 0], [0]]}
    numbered = Dataset.from_dict(tagged, features=features)
    tagged["ner_tags"] = [["B-PER", "I-PER", "O"], ["O"]]
    named = Dataset.from_dict(tagged)
    contents = []
    for rows in (data.to_list(), data, data.with_format(form), named.with_format(form), numbered.with_format(form)):
        path = tmp_path / f"x{len(contents)}"
        write(path, rows)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        contents.append([file.read_bytes() for file in files])
    assert all(content == contents[0] for content in contents)


# Predictions

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


@pytest.mark.parametrize("row", PREDICTIONS)
def test_predictions_are_written(tmp_path, row):
    write_jsonl(tmp_path / "x.jsonl", [row])
    written = json.loads((tmp_path / "x.jsonl").read_text())["entities"]
    assert [entity["score"] for entity in written] == [0.75, 0.5]
    assert as_text(parse_row(read_annotations(tmp_path / "x.jsonl")[0], "x")) == (
        "Ann met Bob",
        [("PER", 0, 3, None), ("PER", 8, 11, None)],
    )


@pytest.mark.parametrize("row", PREDICTIONS)
@pytest.mark.parametrize("has_file", [False, True])
def test_scores_are_kept_in_documents(nlp, tmp_path, row, has_file):
    def make(**options):
        if not has_file:
            return next(to_docs([row], **options))
        write_docbin(tmp_path / "x.spacy", [row], **options)
        return next(docbin.DocBin().from_disk(tmp_path / "x.spacy").get_docs(nlp.vocab))

    docbin = pytest.importorskip("spacy.tokens")
    doc = make()
    assert [(span.text, span.label_, span._.score) for span in doc.ents] == [("Ann", "PER", 0.75), ("Bob", "PER", 0.5)]
    doc.ents = doc.ents[1:]
    assert [span._.score for span in doc.ents] == [0.5]
    doc = make(spans_key="sc")
    assert [span.text for span in doc.spans["sc"]] == ["Ann", "Bob"]
    assert list(doc.spans["sc"].attrs["scores"]) == [0.75, 0.5]


def test_without_scores_documents_have_none(nlp, tmp_path):
    rows = [{"tokens": SENTENCE, "entities": [{"label": "PER", "start": 0, "end": 1}]}]
    (doc,) = to_docs(rows)
    assert not doc.user_data
    (doc,) = to_docs(rows, spans_key="sc")
    assert not doc.spans["sc"].attrs
    (doc,) = to_docs([{"tokens": SENTENCE, "entities": []}], spans_key="sc")
    assert doc.spans["sc"].attrs == {"scores": []}


@pytest.mark.parametrize("extension", [{"default": 0.0}, {"getter": len}, {"method": len}])
def test_what_others_call_score_is_left_alone(nlp, monkeypatch, extension):
    tokens = pytest.importorskip("spacy.tokens")
    monkeypatch.setattr(tokens.underscore.Underscore, "span_extensions", {})
    tokens.Span.set_extension("score", **extension)
    with pytest.raises(ValueError, match=r"Span\._\.score, but another extension has that name: set spans_key"):
        list(to_docs(PREDICTIONS))
    assert [doc.spans["sc"].attrs["scores"] for doc in to_docs(PREDICTIONS, spans_key="sc")] == [[0.75, 0.5]] * 2


def test_what_readers_call_score_is_the_same(nlp, monkeypatch):
    tokens = pytest.importorskip("spacy.tokens")
    monkeypatch.setattr(tokens.underscore.Underscore, "span_extensions", {})
    tokens.Span.set_extension("score", default=None)
    assert [doc.ents[0]._.score for doc in to_docs(PREDICTIONS)] == [0.75, 0.75]


def test_predictions_of_the_other_kind_are_refused(tmp_path):
    with pytest.raises(ValueError, match="row 0: entity .* has no 'start'"):
        write_jsonl(tmp_path / "x", [{"text": "Ann met Bob", "entities": OF_WORDS}])
    with pytest.raises(TypeError, match="'score' of entity 'PER' must be a number, not 'high'"):
        write_jsonl(tmp_path / "x", [{"text": "Ann met Bob", "entities": [{**OF_TEXT[0], "score": "high"}]}])


# spaCy


@pytest.fixture(scope="module")
def nlp():
    return pytest.importorskip("spacy").blank("xx")


@settings(max_examples=30)
@given(st.data(), lists_of(text_rows()))
def test_texts_are_read_back_from_a_docbin(nlp, data, rows):
    rows = [snap(row, nlp) for row in rows]
    found = round_trip(
        lambda path, r: write_docbin(path, r, spans_key="k"), [empty_group()] + rows, "x.spacy", spans_key="k"
    )
    assert [row["text"] for row in found[1:]] == [row["text"] for row in rows]
    assert [unique(row["entities"]) for row in found[1:]] == [unique(row["entities"]) for row in rows]
    rows = [flat(row) for row in rows]
    assert round_trip(write_docbin, rows, "x.spacy") == rows


def empty_group():
    """A row whose group makes the file have it, whatever the other rows are."""
    return {"text": "a", "entities": [{"label": "X", "start": 0, "end": 1}]}


def snap(row, nlp):
    """Widen entities to whole tokens."""
    tokens = [(token.idx, token.idx + len(token)) for token in nlp.make_doc(row["text"])]
    entities = []
    for entity in row["entities"]:
        covered = [(start, end) for start, end in tokens if start < entity["end"] and end > entity["start"]]
        if covered:
            entities.append({**entity, "start": covered[0][0], "end": covered[-1][1]})
    return {**row, "entities": entities}


@settings(max_examples=30)
@given(lists_of(word_rows()))
def test_words_become_tokens(nlp, rows):
    for row, doc in zip(rows, to_docs(rows, spans_key="k"), strict=True):
        assert [token.text for token in doc] == row["tokens"]
        assert doc.text == " ".join(row["tokens"])
        assert sorted((s.start, -s.end, s.label_) for s in doc.spans["k"]) == unique(row["entities"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": "Annie went", "entities": [{"label": "PER", "start": 0, "end": 3}]},
            r"row 0: entity 'PER' from characters 0 to 3 \('Ann'\) begins or ends inside a token of \['Annie'\]",
        ),
        (
            {"text": "a b", "entities": [{"label": "X", "start": 0, "end": 3}, {"label": "Y", "start": 0, "end": 1}]},
            r"row 0 has entities that overlap, which Doc.ents cannot represent: pass spans_key=",
        ),
        ({"tokens": ["a", ""], "entities": []}, r"row 0: word 1 is empty"),
    ],
)
def test_what_documents_cannot_hold_is_refused(nlp, row, message):
    with pytest.raises(ValueError, match=message):
        list(to_docs([row]))


def test_another_tokenizer_can_be_passed(nlp):
    spacy = pytest.importorskip("spacy")
    row = {"text": "can't", "entities": [{"label": "X", "start": 0, "end": 2}]}
    with pytest.raises(ValueError, match="inside a token"):
        list(to_docs([row], nlp))
    (doc,) = to_docs([row], spacy.blank("en"))
    assert doc.ents[0].text == "ca"


# Pages


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


def test_a_page_is_written_piece_by_piece(tmp_path):
    sizes = []

    def drawings():
        for _ in range(5_000):
            yield draw("x" * 200, []), []
            sizes.append((tmp_path / "x.part").stat().st_size)

    write_page(tmp_path / "x", "data/entities.html", title="", labels=[], num_texts=5_000, drawings=drawings())
    assert sizes[2_500] > 400_000


def test_without_spacy_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    rows = [{"text": "a", "entities": []}]
    with pytest.raises(ImportError, match="pip install spacy"):
        write_docbin(tmp_path / "x", rows)
    with pytest.raises(ImportError, match="pip install spacy"):
        list(to_docs(rows))
    write_html(tmp_path / "x", rows)


def test_a_text_beside_tags_is_not_dropped_without_a_word(tmp_path, caplog):
    data = Dataset.from_list([{"tokens": ["Ann", "went"], "ner_tags": ["B-PER", "O"], "text": "Ann went"}])
    write_jsonl(tmp_path / "rows.jsonl", data)
    assert "The column 'text' is not written" in caplog.text
    (row,) = read_annotations(tmp_path / "rows.jsonl").to_list()
    assert row == {"tokens": ["Ann", "went"], "entities": [{"label": "PER", "start": 0, "end": 1}]}
