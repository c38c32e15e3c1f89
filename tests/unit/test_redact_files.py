"""Files without their entities: nothing is left as it was, and what was redacted is apart."""

import json
import os
import stat

import pytest
from tiny import TEXT, build_model

from span_marker import SpanMarkerModel
from span_marker.bulk import redact_files
from span_marker.redaction import RedactionMap, Redactor, restore

TEXTS = [line for line in TEXT.strip().splitlines() if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    build_model(entity_max_length=3).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def found(folder):
    return SpanMarkerModel.from_pretrained(folder).predict(TEXTS, is_split_into_words=False)


@pytest.mark.parametrize("how", ["numbered", "label", "mask", "remove", "hash"])
@pytest.mark.parametrize("kind", ["lines", "jsonl", "csv"])
def test_texts_are_those_of_a_redactor_and_are_restored(folder, found, tmp_path, how, kind):
    if kind == "lines":
        (tmp_path / "x.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    elif kind == "jsonl":
        (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": text, "who": "Ann"}) + "\n" for text in TEXTS))
    else:
        (tmp_path / "x.csv").write_text("text|who\n" + "".join(f'"{text}"|Ann\n' for text in TEXTS))
    source = next(tmp_path.glob("x.*"))
    output, key = tmp_path / ("out.txt" if kind == "lines" else "out.jsonl"), "k" * 16 if how == "hash" else None
    report = redact_files(
        folder,
        [source],
        output,
        how=how,
        key=key,
        map_file=tmp_path / "map",
        input_format="lines" if kind == "lines" else None,
        device="cpu",
    )
    redactor = Redactor(how, key=key)
    expected = [redactor.redact(text, entities).text for text, entities in zip(TEXTS, found, strict=True)]
    assert any(map(str.__ne__, expected, TEXTS))
    lines = output.read_text().splitlines()
    assert (lines if kind == "lines" else [json.loads(line) for line in lines]) == (
        expected if kind == "lines" else [{"text": text} for text in expected]
    )
    assert report == redactor.report
    maps = [RedactionMap.from_dict(json.loads(line)) for line in (tmp_path / "map").read_text().splitlines()]
    assert [restore(text, one) for text, one in zip(expected, maps, strict=True)] == TEXTS
    assert os.name == "nt" or stat.S_IMODE((tmp_path / "map").stat().st_mode) == 0o600


def test_columns_are_kept_only_if_named(folder, tmp_path, caplog):
    (tmp_path / "x.jsonl").write_text(json.dumps({"id": 7, "who": "Ann", "body": TEXTS[0]}) + "\n")
    redact_files(folder, [tmp_path / "x.jsonl"], tmp_path / "y.jsonl", text_column="body", keep=["id"])
    assert {**json.loads((tmp_path / "y.jsonl").read_text()), "text": ""} == {"id": 7, "text": ""}
    assert "columns that are not written, since they may contain the same names: ['who']" in caplog.text
    with pytest.raises(ValueError, match=r"line 1 has no column 'x', only \['id', 'who', 'body'\]"):
        redact_files(folder, [tmp_path / "x.jsonl"], tmp_path / "z.jsonl", text_column="body", keep=["x"])
    assert not (tmp_path / "z.jsonl").exists()


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"id": 7, "body": TEXTS[0]}, {"text_column": "body", "keep": ["id", "body"]}),
        ({"text": "another", "body": TEXTS[0]}, {"text_column": "body", "keep": ["text"]}),
        ({"tokens": TEXTS[0].split()}, {"keep": ["tokens"]}),
    ],
)
def test_texts_are_not_kept_as_they_were(folder, tmp_path, row, options):
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="are written as 'text', without their entities"):
        redact_files(folder, [tmp_path / "x.jsonl"], tmp_path / "y.jsonl", **options)
    assert not (tmp_path / "y.jsonl").exists()


def test_columns_are_told_by_their_names(folder, tmp_path, caplog):
    (tmp_path / "x.jsonl").write_text('{"id": "a", "text": "a"}\n')
    redact_files(folder, [tmp_path / "x.jsonl"], tmp_path / "y.jsonl", keep=["text"])
    assert "same names: ['id']" in caplog.text


def test_words_and_texts_with_line_ends(folder, tmp_path):
    (tmp_path / "x.conll").write_text("Amelia O\nflew O\n\nParis O\n")
    redact_files(folder, [tmp_path / "x.conll"], tmp_path / "y.txt", how="mask", threshold=0.999)
    assert [len(line) for line in (tmp_path / "y.txt").read_text().splitlines()] == [11, 5]
    for content in ("a\nb", "a\r\nb\r\n", "a\n", ""):
        (tmp_path / "one.txt").write_bytes(content.encode())
        redact_files(folder, [tmp_path / "one.txt"], tmp_path / "z.txt", threshold=1.0, overwrite=True)
        assert (tmp_path / "z.txt").read_bytes().decode() == (content or "\n")
    (tmp_path / "x.jsonl").write_text('{"text": "a\\r"}\n{"text": "b"}\n')
    redact_files(folder, [tmp_path / "x.jsonl"], tmp_path / "z.txt", threshold=1.0, overwrite=True)
    assert (tmp_path / "z.txt").read_bytes() == b"a\r\nb\n"
    (tmp_path / "one.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="several texts, some with line breaks, cannot be told apart"):
        redact_files(folder, [tmp_path / "one.txt"] * 2, tmp_path / "new.txt", threshold=1.0)
    assert not (tmp_path / "new.txt").exists()


def test_no_text_is_left_out_or_left_as_it_was(folder, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "Ann left"}\n{"text": null}\n')
    with pytest.raises((TypeError, ValueError), match="line 2"):
        redact_files(folder, [tmp_path / "x.jsonl"], tmp_path / "y.jsonl", map_file=tmp_path / "map")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"output": "y.pdf"}, ValueError, "the ending of .*y.pdf must be one of .txt"),
        ({"output": "x.txt"}, FileExistsError, "x.txt exists: pass overwrite=True"),
        ({"output": "x.txt", "overwrite": True}, ValueError, "x.txt cannot be both input and output"),
        ({"map_file": "y.txt"}, ValueError, "map_file=.* is the output: write the map to another"),
        ({"map_file": "x.txt"}, FileExistsError, "x.txt exists"),
        ({"map_file": "x.txt", "overwrite": True}, ValueError, "map_file=.*x.txt' is an input: choose another file"),
        ({"how": "hash"}, ValueError, "how='hash' needs a secret key: pass key="),
        ({"keep": ["id"]}, ValueError, "keep=\\['id'\\] needs output_format='jsonl'"),
        ({"output_format": "csv"}, ValueError, "output_format='csv' must be text or jsonl"),
        ({"num_workers": 0}, ValueError, "num_workers must be at least 1"),
        ({"on_error": "column"}, TypeError, "on_error"),
    ],
)
def test_what_is_refused(folder, tmp_path, options, error, message):
    (tmp_path / "x.txt").write_text("Ann left")
    paths = {name: tmp_path / options[name] for name in ("output", "map_file") if name in options}
    with pytest.raises(error, match=message):
        redact_files(folder, [tmp_path / "x.txt"], **{"output": tmp_path / "y.txt", **options, **paths})
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
