"""Texts from files of many kinds."""

import csv
import datetime
import decimal
import gzip
import json
import logging
import math
import re

import pyarrow
import pyarrow.parquet
import pytest

from span_marker import read_annotations
from span_marker.bulk import input_files
from span_marker.bulk.input_files import KINDS, find_files
from span_marker.bulk.sources import read_items
from span_marker.data.csv_files import write_csv

TEXTS = ["Amelia flew to Paris.", 'He said "no", twice.', "日本\u2028東京", "a\tb", ""]


def contents(path, kind=None, text_column=None):
    return [item.content for item in read_items(find_files([path], kind), text_column)]


def write(path, rows):
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        pytest.importorskip("pandas").DataFrame(rows).to_csv(
            path, index=False, sep="\t" if path.suffix == ".tsv" else ",", encoding="utf-8-sig"
        )


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("column", ["text", "body"])
def test_rows_keep_their_columns(tmp_path, ending, column):
    path = tmp_path / f"x.{ending}"
    rows = [{"id": f"n{number}", column: text} for number, text in enumerate(TEXTS)]
    write(path, rows)
    items = list(read_items(find_files([path]), None if column == "text" else column))
    assert [item.columns for item in items] == rows
    assert [item.content for item in items] == TEXTS
    assert [item.num_bytes for item in items] == sorted(item.num_bytes for item in items)
    assert items[-1].num_bytes == find_files([path]).num_bytes
    if column == "body":
        with pytest.raises(ValueError, match=r"needs the column 'text' or 'tokens', but has \['id', 'body'\]"):
            contents(path)


def test_words_are_read_too(tmp_path):
    write(tmp_path / "x.jsonl", [{"tokens": ["Amelia", "flew"]}, {"text": "x"}])
    assert contents(tmp_path / "x.jsonl") == [["Amelia", "flew"], "x"]
    (tmp_path / "x.conll").write_text("Amelia B-PER\nflew O\n\nParis B-LOC\n")
    assert contents(tmp_path / "x.conll") == [["Amelia", "flew"], ["Paris"]]
    (tmp_path / "x.conll").write_text("Amelia B-PER\nflew O\n\nParis -\n\nTokyo B\nis LOC\n")
    assert contents(tmp_path / "x.conll") == [["Amelia", "flew"], ["Paris"], ["Tokyo", "is"]], "tags do not matter"
    (tmp_path / "x.conll").write_text("Amelia\nflew\n\nParis\n")
    assert contents(tmp_path / "x.conll") == [["Amelia", "flew"], ["Paris"]], "nor whether there are any"
    (tmp_path / "x.conll").write_text("Amelia O\nflew O\n\nParis O X\n")
    with pytest.raises(ValueError, match="line 4, row 1: 'Paris O X' has 3 columns"):
        contents(tmp_path / "x.conll")
    write(tmp_path / "both.jsonl", [{"tokens": [], "text": ""}])
    with pytest.raises(ValueError, match="has both 'text' and 'tokens': pass text_column= with the name of one"):
        contents(tmp_path / "both.jsonl")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text", "Amelia flew\nto Paris"),
        ("lines", "Amelia flew\nto Paris"),
        ("jsonl", '{"text": "Amelia"}\n{"tokens": ["to", "Paris"]}'),
        ("json", '[{"text": "Amelia"}]'),
        ("csv", 'id;text\n1;"Amelia\nflew"'),
        ("tsv", "id\ttext\n1\tAmelia"),
        ("conll", "Amelia B-PER\nflew O\n\nParis B-LOC"),
        ("conllu", "1\tAmelia\t_\t_\t_\t_\t_\t_\t_\t_\n"),
    ],
)
def test_standard_input_is_read_as_a_file_is(tmp_path, monkeypatch, kind, text):
    (tmp_path / "x").write_text(text, encoding="utf-8")
    with (tmp_path / "x").open(encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        found = contents("-", kind)
    assert found == contents(tmp_path / "x", kind)
    assert found


@pytest.mark.parametrize("lines", ["12:30\n14:00", "https://a.org/b\nhttp://a.org", "ann_lee@a.org\nbob_x@a.org"])
def test_words_that_have_separators_are_words(tmp_path, lines):
    (tmp_path / "x.conll").write_text(lines)
    assert contents(tmp_path / "x.conll") == [lines.split("\n")]
    (tmp_path / "x.conll").write_text("Ann|B-PER\nleft|O\n")
    with pytest.raises(
        ValueError, match=r"x\.conll, line 1: there are no tabs or spaces .* or pass another input_format="
    ):
        contents(tmp_path / "x.conll")


def test_the_column_of_words_can_be_chosen(tmp_path):
    (tmp_path / "x.conll").write_text("1 Ann O\n2 left O\n\n1 Bo O\n")
    (tmp_path / "y.txt").write_text("a text")
    first, last, default = (find_files([tmp_path], token_column=column) for column in (1, -2, None))
    assert [item.content for item in read_items(first)] == [["Ann", "left"], ["Bo"], "a text"]
    assert [item.content for item in read_items(last)] == [["Ann", "left"], ["Bo"], "a text"]
    assert first.fingerprint != default.fingerprint, "another column is another run"
    with pytest.raises(ValueError, match=r"column 0 numbers the words, such as '1': pass token_column="):
        [*read_items(default)]
    with pytest.raises(ValueError, match="line 1: there is no column 3, since a line has 3 columns"):
        [*read_items(find_files([tmp_path], token_column=3))]
    with pytest.raises(ValueError, match="token_column=1 does not apply, since no file is read as conll: leave it out"):
        find_files([tmp_path / "y.txt"], token_column=1)


def test_a_folder_is_read_in_order(tmp_path, caplog):
    for name in ("b.txt", "a/z.txt", "a/b.md", ".hidden.txt", "image.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    with caplog.at_level(logging.WARNING):
        items = list(read_items(find_files([tmp_path])))
    assert [item.columns["file"] for item in items] == ["b.txt", "a/b.md", "a/z.txt"]
    assert [item.content for item in items] == ["b.txt", "a/b.md", "a/z.txt"]
    assert "2 files are skipped" in caplog.text


def test_lists_of_files_are_on_disk_and_stay_as_they_were(tmp_path, monkeypatch):
    """Memory does not grow with their number; files that come later, such as results, are not among them."""
    monkeypatch.setattr(input_files, "LIST_BYTES", 1_000)
    names = [f"{number:03}" if number % 7 else f"{number:03}\n\udcff" for number in range(200)]
    for name in names:
        (tmp_path / f"{name}.txt").write_text(name, errors="replace")
    files = find_files([tmp_path])
    (tmp_path / "000 later.txt").touch()
    assert [file.name for file in files] == [f"{name}.txt" for name in names]
    assert [first.name for first, _ in zip(files, files, strict=True)] == [f"{name}.txt" for name in names]
    assert files._lines._rolled
    assert find_files([tmp_path]).fingerprint != files.fingerprint
    (tmp_path / "000 later.txt").unlink()
    assert find_files([tmp_path]).fingerprint == files.fingerprint


def test_only_line_ends_end_lines(tmp_path):
    (tmp_path / "x").write_bytes("eins\r\nz\u2028w\u0085ei\x0b\n\ndrei".encode())
    assert contents(tmp_path / "x", "lines") == ["eins", "z\u2028w\u0085ei\x0b", "", "drei"]
    (tmp_path / "x").write_text('{"text": "a"}\n\ufeff{"text": "b"}\n', encoding="utf-8")
    assert contents(tmp_path / "x", "jsonl") == ["a", "b"], "of joined files"
    (tmp_path / "x").write_bytes(b"eins\r\r\nzwei\r\r\n\r\r\ndrei\r\n\r\nvier")
    assert contents(tmp_path / "x", "lines") == ["eins", "zwei", "", "drei", "", "vier"], "converted twice"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", ["", "sep={}", '"SEP={}"'])
def test_tables_are_read_as_annotated_ones_are(tmp_path, encoding, line_end, delimiter, start):
    """One rule for delimiters, encodings, line ends and names of columns, whatever the ending."""
    texts = ["Zo\xeb flew, to; Paris.", 'She said "no"', "a\nb"]
    rows = [["ID", " Text ", "entities"], *([str(number), text, "[]"] for number, text in enumerate(texts))]
    path = tmp_path / "x.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        file.write(start and start.format(delimiter) + line_end)
        csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    named = encoding if encoding in ("utf-16-le", "latin-1") else None
    items = [*read_items(find_files([path]), encoding=named)]
    assert [item.content for item in items] == texts == read_annotations(path, encoding=named)["text"]
    assert [item.columns["ID"] for item in items] == ["0", "1", "2"]
    (tmp_path / "x.tsv").write_bytes(path.read_bytes())
    assert [item.content for item in read_items(find_files([tmp_path / "x.tsv"]), encoding=named)] == texts


def test_words_in_cells_are_words(tmp_path):
    rows = [{"tokens": ["Zo\xeb", 'a "b" c'], "entities": []}, {"tokens": ["Paris"], "entities": []}]
    write_csv(tmp_path / "x.csv", rows)
    assert contents(tmp_path / "x.csv") == [row["tokens"] for row in rows]
    (tmp_path / "x.csv").write_text("Words;tag\nAmelia flew;1\n")
    assert contents(tmp_path / "x.csv") == [["Amelia", "flew"]]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("has_id", [True, False])
def test_tables_of_entities_have_each_text_once(tmp_path, caplog, ending, has_id):
    texts = ["Ann met Bob.", "Nobody.", "Ann met Bob."]
    entities = [(0, 3), (8, 11)]
    lines = [
        {"id": number, "text": text, "start": start, "end": end, "label": "PER", "span": text[start:end], "note": "n"}
        for number, text in enumerate(texts)
        for start, end in (entities if number != 1 else [(None, None)])
    ]
    lines = lines if has_id else [{name: cell for name, cell in line.items() if name != "id"} for line in lines]
    write(tmp_path / f"x.{ending}", lines)
    items = [*read_items(find_files([tmp_path / f"x.{ending}"]))]
    assert [item.content for item in items] == texts
    assert all(set(item.columns) == {"text", "note"} | ({"id"} if has_id else set()) for item in items)
    assert caplog.text.count("has a line for each entity") == 1
    write(tmp_path / f"y.{ending}", [{"text": "Ann", "label": "urgent"}] * 2)
    assert contents(tmp_path / f"y.{ending}") == ["Ann", "Ann"], "a label of the text"


BAD_ROWS = {
    "x.jsonl": (
        b'{"text": "a"}\n{"body": "b"}\nnonsense\n[1]\n"\xff"\n{"text": "a", "tokens": []}\n{"text": "z"}\n',
        5,
    ),
    "x.json": (b'[{"text": "a"}, {"body": 1}, 3, {"text": "z"}]', 2),
    "x.csv": (b"text,id\na,1\nb\nc,d,e\n\xff,1\nz,2\n", 3),
    "x.txt": (b"a\n\xff\nz\n", 1),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_do_not_hide_the_others(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD_ROWS[name][0])
    files = find_files([path], "lines" if name == "x.txt" else None)
    items = [*read_items(files, on_error="column")]
    assert [item.content for item in items if item.error is None] == ["a", "z"]
    errors = [item.error for item in items if item.error is not None]
    assert len(errors) == BAD_ROWS[name][1]
    assert all(str(error).startswith(str(path)) for error in errors)
    with pytest.raises(type(errors[0]), match=re.escape(str(errors[0]))):
        [*read_items(files)]


def test_long_cells_are_read(tmp_path):
    write(tmp_path / "x.csv", [{"text": "x" * 300_000}])
    assert contents(tmp_path / "x.csv") == ["x" * 300_000]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"text,id,id\na,b,c\n", r"line 1: there are several columns 'id': rename all but one"),
        ("x.csv", b"text,id\na,\xff\n", r"line 2 is not UTF-8 \(character 0\): pass encoding="),
        ("x.jsonl", '{"text": "ab"}\n'.encode("utf-16-le"), r"x\.jsonl looks like UTF-16 without a byte order mark"),
        ("x.jsonl", b"[" * 100_000, r"line 1 is nested too deeply"),
        ("x.jsonl", b'{"text": "a"}\n{"text":\n', r"x\.jsonl, line 2 is not JSON"),
        ("x.jsonl", b'{"text": "a"}\n[1]\n', r"line 2 must be an object with a column of texts, not list"),
        (
            "x.jsonl",
            b'{"text": "\xff"}\n',
            r"line 1 is not UTF-8 \(character 10\): pass encoding= with the encoding of the file",
        ),
        ("x.txt", b"\xff", r"x\.txt, line 1: the byte 0xff at position 0 is not UTF-8"),
        ("x.csv", b"text,id\na\n", r"line 2 has 1 cells, but there are 2 columns"),
        ("x.csv", b"text,id\na,b,c\n", r"line 2 has 3 cells, but there are 2 columns"),
        ("x.csv", b'text\n"a\n', r"line 2: unexpected end of data: a cell with a quote must be in quotes"),
    ],
)
def test_bad_files_are_named_with_the_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        contents(tmp_path / name)


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "x.png").touch()
    with pytest.raises(ValueError, match="does not tell how to read it: pass input_format= one of text, lines"):
        find_files([tmp_path / "x.png"])
    with pytest.raises(ValueError, match="has no file whose ending is one of"):
        find_files([tmp_path])
    with pytest.raises(FileNotFoundError, match="there is no"):
        find_files([tmp_path / "y"])
    with pytest.raises(ValueError, match="input_format='pdf' must be one of text, lines"):
        find_files([tmp_path / "x.png"], "pdf")
    with pytest.raises(ValueError, match="there is nothing to read"):
        find_files([])
    with pytest.raises(ValueError, match="Parquet cannot be read from standard input"):
        contents("-", "parquet")
    assert set(KINDS) == {"text", "lines", "jsonl", "json", "csv", "tsv", "parquet", "conll", "conllu"}


CONLLU = "# text = Ann ruht\n1\tAnn\t_\t_\t_\t_\t_\t_\t_\t_\n2\truht\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"


def test_words_of_conllu_are_read_and_no_numbers(tmp_path):
    path = tmp_path / "x.conllu"
    path.write_text(f"{CONLLU}\n{CONLLU}")
    assert contents(path) == contents(path, "conllu") == [["Ann", "ruht"]] * 2
    with pytest.raises(ValueError, match="column 0 numbers the words"):
        contents(path, "conll")
    path.write_text("1\tAnn\n")
    with pytest.raises(ValueError, match="line 1: .* has 2 columns, not 10"):
        contents(path)


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ('{"text": "Ann", "entities": []}\n', "jsonl"),
        ("text,start,end,label\nAnn,0,3,PER\n", "csv"),
        (CONLLU.replace("SpaceAfter=No", "NER=O"), "conllu"),
        ("7|t|Ann\n7|a|ruht\n7\t0\t3\tAnn\tPER\n", "pubtator"),
    ],
)
@pytest.mark.parametrize("kind", ["text", "lines"])
def test_what_is_plainly_no_text_is_read_as_one_with_a_warning(tmp_path, caplog, text, format, kind):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(text)
    assert len(contents(tmp_path, kind)) == (2 if kind == "text" else 2 * text.count("\n"))
    (message,) = caplog.messages
    assert f"a.txt looks like {format}, but is read as {'one text' if kind == 'text' else 'a text per line'}" in message
    assert (f"input_format={format!r}" in message) == (format != "pubtator")
    caplog.clear()
    (tmp_path / "a.txt").write_text('"Ann", {"text"}: 1,2\n')
    contents(tmp_path / "a.txt", kind)
    assert not caplog.messages


def test_json_is_no_column_file(tmp_path):
    (tmp_path / "x.conll").write_text('{"text": "Ann"}\n')
    with pytest.raises(ValueError, match="x.conll looks like jsonl, not like columns: pass another input_format="):
        contents(tmp_path / "x.conll")


ODD_NAMES = [
    "a, b.jsonl",
    "a, c.jsonl",
    "100 %s %d.jsonl",
    "two\nlines.jsonl",
    "\U0001f600.jsonl",
    "\udcff.jsonl",
    'q",".jsonl',
]


def test_bytes_are_counted_over_files_of_any_names(tmp_path):
    for number, name in enumerate(ODD_NAMES):
        write(tmp_path / name, [{"text": text} for text in TEXTS[: number % len(TEXTS) + 1]])
    (tmp_path / "empty.jsonl").touch()
    files = find_files([tmp_path])
    counts = [item.num_bytes for item in read_items(files)]
    assert counts == sorted(set(counts))
    assert counts[-1] == files.num_bytes


def test_numbers_that_json_lacks_are_null_and_said_once(tmp_path, caplog):
    (tmp_path / "x.jsonl").write_text('{"text": "a", "n": NaN}\n{"text": "b", "n": [-Infinity]}\n')
    (tmp_path / "x.json").write_text('[{"text": "a", "n": Infinity}]')
    table = pyarrow.table({"text": ["a", "b"], "n": [math.nan, 1.0], "m": [{"k": [math.inf]}, None]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    found = {
        "jsonl": [{"text": "a", "n": None}, {"text": "b", "n": [None]}],
        "json": [{"text": "a", "n": None}],
        "parquet": [{"text": "a", "n": None, "m": {"k": [None]}}, {"text": "b", "n": 1.0, "m": None}],
    }
    for ending, expected in found.items():
        caplog.clear()
        assert [item.columns for item in read_items(find_files([tmp_path / f"x.{ending}"]))] == expected
        assert caplog.text.count(f"x.{ending}: numbers such as ") == 1


def test_columns_of_parquet_become_those_of_json(tmp_path, caplog):
    table = pyarrow.table(
        {
            "text": ["a"],
            "price": [decimal.Decimal("1.50")],
            "image": [{"bytes": b"\xff", "path": "x.png"}],
            "raw": [[b"\xff"]],
            "took": [datetime.timedelta(1)],
            "map": pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
            "kind": pyarrow.array(["x"]).dictionary_encode(),
            "key": pyarrow.ExtensionArray.from_storage(pyarrow.uuid(), pyarrow.array([b"0" * 16], pyarrow.binary(16))),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    (item,) = read_items(find_files([tmp_path / "x.parquet"]))
    key = "30303030-3030-3030-3030-303030303030"
    assert item.columns == {"text": "a", "price": "1.50", "map": [["k", 1]], "kind": "x", "key": key}
    assert "columns that are left out, since results cannot hold their values: ['image', 'raw', 'took']" in caplog.text
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"a"]}), tmp_path / "x.parquet")
    with pytest.raises(TypeError, match=r"x\.parquet, row 0: text must be a string, or a list of words, not bytes"):
        contents(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.parquet is not Parquet"):
        contents(tmp_path / "x.parquet")


def test_compressed_files_are_refused_as_such(tmp_path):
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(ValueError, match=r"x\.jsonl\.gz is compressed \(gzip\): unpack it first"):
        find_files([tmp_path / "x.jsonl.gz"])


@pytest.mark.parametrize(("start", "end"), [("2024-01-01", "2024-01-31"), ("9:00", "9:15"), ("a", "b")])
def test_other_columns_with_the_names_of_bounds_are_kept(tmp_path, caplog, start, end):
    """Lines with the same text are not of one text, then."""
    (tmp_path / "x.csv").write_text(f"text,start,end,label\nok,,,low\nok,{start},{end},low\nok,{start},{end},high\n")
    rows = [item.columns for item in read_items(find_files([tmp_path / "x.csv"]))][1:]
    assert rows == [{"text": "ok", "start": start, "end": end, "label": label} for label in ("low", "high")]


def test_json_lines_may_be_in_a_file_that_ends_with_json(tmp_path):
    """As `read_annotations` reads it, and as results are written to such a file."""
    path = tmp_path / "x.json"
    path.write_text('{"text": "a"}\n\n{"text": "b\\u2028"}\n')
    assert contents(path) == ["a", "b\u2028"]
    path.write_text('{"text": "a"}\n{"text": }\n')
    with pytest.raises(ValueError, match=r"x\.json, line 2 is not JSON: Expecting value at column 10"):
        contents(path)
    for text in ('{"text":\n "a"}\n', '{"text": "a"}\n', '[\n{"text": "a"}\n]'):
        path.write_text(text)
        assert contents(path) == ["a"]
