"""Files in, files out: every format, errors, and runs that are stopped and resumed."""

import csv
import json
import multiprocessing
import os
import random
import threading
import time
from pathlib import Path

import pyarrow.parquet
import pytest
from tiny import SENTENCES, build_model

from span_marker import SpanMarkerModel, read_annotations
from span_marker.bulk import Reader, predict_files
from span_marker.bulk import predict_files as bulk_function
from span_marker.bulk.input_files import find_files
from span_marker.bulk.items import Item
from span_marker.bulk.predict_files import executor_of, fetch_ahead
from span_marker.bulk.results import Results
from span_marker.core.surrogates import readable
from span_marker.data.csv_files import write_csv

bulk = __import__("sys").modules[bulk_function.__module__]

TEXTS = [" ".join(words) for words in SENTENCES * 8]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    build_model().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(TEXTS)))
    return path


@pytest.fixture
def expected(model):
    found = SpanMarkerModel.from_pretrained(model).predict(TEXTS, is_split_into_words=False)
    return [{"id": n, "text": text, "entities": e} for n, (text, e) in enumerate(zip(TEXTS, found, strict=True))]


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def plain(rows):
    """Rows without scores, which depend on the batch in the last digits."""
    return [{**row, "entities": [{**entity, "score": None} for entity in row["entities"]]} for row in rows]


def test_every_text_has_a_row_in_order(model, source, tmp_path, expected):
    report = predict_files(model, [source], tmp_path / "out.jsonl")
    assert plain(rows(tmp_path / "out.jsonl")) == plain(expected)
    assert report.num_texts == len(TEXTS)
    assert report.num_entities == sum(len(row["entities"]) for row in expected) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
    predict_files(model, [source], tmp_path / "none.jsonl", threshold=1.0)
    assert not any(row["entities"] for row in rows(tmp_path / "none.jsonl"))


def test_other_formats_hold_the_same(model, source, tmp_path, expected):
    places = [[(e["label"], e["char_start_index"], e["char_end_index"]) for e in row["entities"]] for row in expected]
    for ending in ("html", "csv", "tsv", "parquet", "spacy"):
        predict_files(model, [source], tmp_path / f"out.{ending}")
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["id"] for row in table] == [row["id"] for row in expected]
    assert [
        [(e["label"], e["char_start_index"], e["char_end_index"]) for e in row["entities"]] for row in table
    ] == places
    for ending, delimiter in (("csv", ","), ("tsv", "\t")):
        with (tmp_path / f"out.{ending}").open(newline="") as file:
            cells = list(csv.DictReader(file, delimiter=delimiter))
        assert [(int(c["id"]), c["label"], c["start"], c["end"]) for c in cells] == [
            (number, label, str(start), str(end))
            for number, some in enumerate(places)
            for label, start, end in some or [("", "", "")]
        ]
        cells = [c for c in cells if c["label"]]
        assert all(TEXTS[int(c["id"])][int(c["start"]) : int(c["end"])] == c["span"] for c in cells)
    assert len(read_annotations(tmp_path / "out.spacy")) == len(TEXTS)
    assert TEXTS[1].split()[0] in (tmp_path / "out.html").read_text(encoding="utf-8")


NAMES = ["a, b.txt", "a, c.txt", "100 %s.txt", "two\nlines.txt", "\U0001f600.txt", "\udcff.txt"]


def test_files_may_have_any_names(model, tmp_path):
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / name).write_text("Amelia flew to Paris .")
    for ending in ("jsonl", "csv", "parquet", "html"):
        output = tmp_path / f"out.{ending}"
        assert predict_files(model, [tmp_path / "in"], output).num_texts == len(NAMES)
    assert {row["file"] for row in rows(tmp_path / "out.jsonl")} == set(NAMES)
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert {row["file"] for row in table} == {readable(name) for name in NAMES}
    (tmp_path / "in" / NAMES[0]).write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"a, b\.txt, line 1: the byte 0xff at position 0 is not UTF-8"):
        predict_files(model, [tmp_path / "in"], tmp_path / "other.jsonl")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_reaches_the_end_also_after_a_break(model, tmp_path, monkeypatch, capsys, is_terminal):
    """Files with commas in their names are several files, and bytes of an earlier run take no time of this one."""
    monkeypatch.setattr(bulk, "CHUNK_TEXTS", 2)
    monkeypatch.setattr(bulk, "SECONDS_PER_LINE", 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / name).write_text("Amelia flew to Paris .")
    output = tmp_path / "out.jsonl"
    predict_files(model, [tmp_path / "in"], output, show_progress=True)
    part = output.rename(f"{output}.part")
    first = capsys.readouterr().err
    interrupt(monkeypatch, model, tmp_path / "in", output)
    part.write_bytes(b"{}\n" * 4)
    predict_files(model, [tmp_path / "in"], output, show_progress=True, resume=True)
    second = capsys.readouterr().err
    for shown, num_texts in ((first, 6), (second, 2)):
        if is_terminal:
            assert "132/132" in shown
        else:
            assert f"{num_texts} texts, " in shown
            assert "100%, about 0.0 minutes left" in shown.splitlines()[-1]


@pytest.mark.parametrize("num_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_texts_that_cannot_be_read(model, tmp_path, num_workers):
    source = tmp_path / "in.jsonl"
    source.write_text(
        '{"text": "Amelia flew", "error": "E7"}\n{"text": null}\n{"text": 3}\n{"tokens": ["Paris", 7]}\n'
        '{"id": 4, "body": "x"}\nno JSON\n{"text": "Paris"}\n'
    )
    with pytest.raises(TypeError, match=r"in\.jsonl, line 2: text"):
        predict_files(model, [source], tmp_path / "out.jsonl")
    assert plain(rows(tmp_path / "out.jsonl.part"))[0]["text"] == "Amelia flew", "what came before is kept"
    output = tmp_path / "column.jsonl"
    report = predict_files(model, [source], output, on_error="column", num_workers=num_workers)
    found = rows(output)
    assert [("line" in row.get("error", "")) for row in found] == [False, True, True, True, True, True, False]
    assert [found[0]["text"], found[4]["id"], found[6]["text"]] == ["Amelia flew", 4, "Paris"]
    assert "error" not in found[0], "it is ours"
    assert report.num_errors == 5
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'column', not 'skip'"):
        Reader(model, on_error="skip")


class StoppedError(Exception):
    pass


def test_a_run_is_resumed_where_it_stopped(model, source, tmp_path, expected, monkeypatch):
    """Whatever is left of it, as after a process was killed: whole rows, and a torn one."""
    monkeypatch.setattr(bulk, "CHUNK_TEXTS", 3)
    output, random_number = tmp_path / "out.jsonl", random.Random(0)
    complete = tmp_path / "complete.jsonl"
    predict_files(model, [source], complete)
    data = complete.read_bytes()
    for length in [0, 1, len(data) - 1, len(data), *(random_number.randrange(len(data)) for _ in range(5))]:
        run = Results(output, None, {})
        interrupt(monkeypatch, model, source, output)
        run.part.write_bytes(data[:length])
        with pytest.raises(FileExistsError, match=r"rows of a run that was stopped: pass resume=True to continue"):
            predict_files(model, [source], output)
        report = predict_files(model, [source], output, resume=True)
        assert report.num_before == data[:length].count(b"\n")
        assert plain(rows(output)) == plain(expected)
        assert predict_files(model, [source], output, resume=True).num_texts == 0, "it is complete"
        with pytest.raises(FileExistsError, match=r"out\.jsonl exists: pass resume=True .*, or overwrite=True"):
            predict_files(model, [source], output)


def interrupt(monkeypatch, model, source, output):
    """Begin a run that stops at once."""

    def stop(*arguments):
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "read_ahead", stop)
        patch.setattr(Results, "discard_if_empty", lambda results: None)  # as if it had been killed
        with pytest.raises(StoppedError):
            predict_files(model, [source], output, overwrite=True)


def test_an_error_ends_no_process_of_another_thread():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    own = []

    def fail():
        with executor_of(2) as executor:
            executor.submit(time.sleep, 60)
            own.extend(executor._processes.values())
            other.start()
            raise StoppedError

    with pytest.raises(StoppedError):
        fail()
    deadline = time.monotonic() + 30
    # Not join, which returns at once if a thread of the executor joins the process at the same time.
    while any(process.exitcode is None for process in own) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(process.exitcode is not None for process in own)
    assert other.exitcode is None
    other.kill()
    other.join()


def test_only_the_same_run_is_resumed(model, source, tmp_path, monkeypatch):
    output = tmp_path / "out.jsonl"
    interrupt(monkeypatch, model, source, output)
    with pytest.raises(ValueError, match=r"is from another run, threshold=None instead of 0\.5"):
        predict_files(model, [source], output, resume=True, threshold=0.5)
    source.write_text('{"text": "changed"}\n')
    with pytest.raises(ValueError, match="on other files, or the files have changed"):
        predict_files(model, [source], output, resume=True)
    with pytest.raises(ValueError, match="cannot be resumed: pass a file"):
        predict_files(model, [source], "-", resume=True)
    with pytest.raises(ValueError, match="a run that reads standard input cannot be resumed"):
        predict_files(model, ["-"], output, resume=True)


def test_results_of_a_complete_run_are_not_taken_for_those_of_another_one(model, source, tmp_path, caplog):
    output = tmp_path / "out.jsonl"
    predict_files(model, [source], output)
    assert predict_files(model, [source], output, resume=True, threshold=0.9).num_texts == 0
    assert "out.jsonl is complete, so nothing is read" in caplog.text
    for changed in (source, Path(model) / "config.json"):
        state = changed.stat()
        os.utime(changed, ns=(state.st_atime_ns, output.stat().st_mtime_ns + 1))
        with pytest.raises(ValueError, match=r"out\.jsonl is complete, but the files or the model have changed since"):
            predict_files(model, [source], output, resume=True)
        os.utime(changed, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(ValueError, match="pass only one of them"):
        predict_files(model, [source], output, resume=True, overwrite=True)


def test_a_model_that_has_changed_since_is_not_gone_on_with(model, source, tmp_path, monkeypatch):
    output, config = tmp_path / "out.jsonl", Path(model) / "config.json"
    interrupt(monkeypatch, model, source, output)
    state = config.stat()
    os.utime(config, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    with pytest.raises(ValueError, match="is from another run, with the checkpoint as it was"):
        predict_files(model, [source], output, resume=True)


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_results_in_a_folder_of_inputs_are_not_read(model, tmp_path, caplog, name):
    (tmp_path / "a.txt").write_text("Amelia flew to Paris .")
    (tmp_path / "b.jsonl").write_text('{"text": "Paris"}')
    output, format = tmp_path / name, "jsonl" if name.endswith("jsonl") else "brat"
    if format == "brat":
        output.mkdir()
        (output / "1.txt").write_text("Paris")
        assert len(list(find_files([tmp_path], None, output))) == 2
    else:
        for _ in range(2):
            assert predict_files(model, [tmp_path], output, output_format=format, overwrite=True).num_texts == 2
    assert f"{name} is not read, since results are written to it" in caplog.text
    assert len(list(find_files([tmp_path], "lines", output))) == 2, "its other files are not read, either"
    with pytest.raises(ValueError, match=r"b\.jsonl cannot be both input and output: choose another output"):
        predict_files(model, [tmp_path / "b.jsonl"], tmp_path / "x" / ".." / "b.jsonl", overwrite=True)


def test_rows_of_a_table_with_the_same_id_are_told_apart(tmp_path, caplog):
    entity = {"span": "Ann", "label": "PER", "score": 0.5, "char_start_index": 0, "char_end_index": 3}
    for identities in (["7", "7"], [1, None], [1, "1"]):
        rows = [{"id": one, "text": "Ann", "entities": [entity]} for one in identities]
        write_results(tmp_path / "x.csv", rows)
        with (tmp_path / "x.csv").open(newline="") as file:
            cells = list(csv.DictReader(file))
        assert [c["id"] for c in cells] == ["0", "1"]
        assert [c["input_id"] for c in cells] == ["" if one is None else str(one) for one in identities]
    assert "several rows have the same id, so the column 'id' has row numbers" in caplog.text


def test_a_column_of_parquet_with_values_of_several_types_is_text(tmp_path, caplog):
    rows = [{"text": "x", "n": n, "entities": []} for n in (1, "a", None, [2.5])]
    write_results(tmp_path / "x.parquet", rows)
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert table["n"].to_pylist() == ["1", "a", None, "[2.5]"]
    assert table["text"].to_pylist() == ["x"] * 4
    assert "the column 'n' has values of several types, so they are written as text" in caplog.text


def test_annotated_data_is_made_of_any_column_of_texts_and_without_rows_that_have_none(tmp_path, caplog):
    entity = {"span": ["Ann"], "label": "PER", "score": 0.5, "word_start_index": 0, "word_end_index": 1}
    rows = [
        {"words": ["Ann"], "text": "other", "ner_tags": ["O"], "entities": [entity]},
        {"words": 3, "entities": [], "error": "no words"},
        {"entities": [], "error": "no JSON"},
    ]
    for ending in ("conll", "html", "spacy"):
        write_results(tmp_path / f"x.{ending}", rows, text_column="words")
    assert (tmp_path / "x.conll").read_text() == "Ann\tB-PER\n\n"
    assert "other" not in (tmp_path / "x.html").read_text()
    assert caplog.text.count("2 texts that could not be read are left out") == 3
    write_results(tmp_path / "x.csv", rows, text_column="words")
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "id,text,ner_tags,error,start,end,label,score,span"


def test_results_that_cannot_be_converted_stay(tmp_path, caplog):
    with pytest.raises(ValueError, match="row 0 has no words"):
        write_results(tmp_path / "x.conll", [{"tokens": [], "entities": []}])
    assert "x.conll.part has the results as JSON lines" in caplog.text
    assert rows(tmp_path / "x.conll.part")


def write_results(path, rows, text_column=None):
    results = Results(path, None, {}, text_column, with_errors=True)
    results.begin(resume=False, overwrite=True)
    with results.appending() as write:
        write(rows)
    results.finish()


def test_every_format_keeps_columns_that_come_late(tmp_path):
    entity = {"span": "Ann", "label": "PER", "score": 0.5, "char_start_index": 0, "char_end_index": 3}
    some = [{"text": "x", "entities": []}, {"text": "Ann", "id": "a", "entities": [entity]}]
    some.append({"text": None, "entities": [], "error": "text must be a string"})
    some[1]["note"] = {"by": ["me"]}
    for ending in ("csv", "parquet"):
        results = Results(tmp_path / f"x.{ending}", None, {})
        results.begin(resume=False, overwrite=False)
        with results.appending() as write:
            write(some)
        results.finish()
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert [(row["id"], row["error"], row["entities"]) for row in table] == [
        (row.get("id"), row.get("error"), row["entities"]) for row in some
    ]
    with (tmp_path / "x.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [(c["id"], c["error"], c["span"]) for c in cells] == [
        ("0", "", ""),
        ("a", "", "Ann"),
        ("2", "text must be a string", ""),
    ]
    assert json.loads(cells[1]["note"]) == some[1]["note"]


def test_a_table_is_that_of_write_csv_with_columns_instead_of_the_text(tmp_path):
    entity = {"span": "Ann", "label": "PER", "score": 0.5, "char_start_index": 0, "char_end_index": 3}
    some = [{"text": "Ann", "id": "a", "entities": [entity, entity | {"label": "X"}]}, {"text": "x", "entities": []}]
    results = Results(tmp_path / "bulk.csv", None, {})
    results.begin(resume=False, overwrite=False)
    with results.appending() as write:
        write([{**row, "note": "n"} for row in some])
    results.finish()
    write_csv(tmp_path / "one.csv", some)
    tables = []
    for name in ("bulk", "one"):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            tables.append(list(csv.reader(file)))
    bulk_table, table = tables
    assert bulk_table[0] == ["id", "note", *table[0][2:]]
    assert [[line[0], *line[2:]] for line in bulk_table] == [[line[0], *line[2:]] for line in table]


def test_what_json_cannot_hold_is_refused(tmp_path):
    results = Results(tmp_path / "x.jsonl", None, {})
    results.begin(resume=False, overwrite=False)
    with results.appending() as write, pytest.raises(ValueError, match="the row 'x': the column 'rate'"):
        write([{"text": "x", "rate": float("nan"), "entities": []}])


def test_workers_give_the_same(model, source, tmp_path, expected):
    predict_files(model, [source], tmp_path / "out.jsonl", num_workers=2)
    assert plain(rows(tmp_path / "out.jsonl")) == plain(expected)
    with pytest.raises(ValueError, match="num_workers must be at least 1, not 0"):
        predict_files(model, [source], tmp_path / "out.jsonl", num_workers=0)


def test_a_run_that_fails_at_once_leaves_nothing(model, tmp_path):
    """So that it can be called again as it should have been, without another option."""
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("body\nAmelia flew\nParis\n")
    with pytest.raises(ValueError, match="needs the column 'text' or 'tokens'"):
        predict_files(model, [source], output)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    assert predict_files(model, [source], output, text_column="body").num_texts == 2
    before = output.read_bytes()
    with pytest.raises(ValueError, match="needs the column"):
        predict_files(model, [source], output, overwrite=True)
    assert output.read_bytes() == before


def test_a_run_that_stopped_at_a_bad_row_goes_on_with_an_error_in_it(model, tmp_path, caplog):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "Amelia"}\n{"text": null}\n{"text": "Paris"}\n')
    with pytest.raises(TypeError, match="line 2"):
        predict_files(model, [source], output)
    assert "out.jsonl.part has the results so far: pass resume=True to continue" in caplog.text
    assert predict_files(model, [source], output, on_error="column", resume=True).num_before == 1
    assert ["error" in row for row in rows(output)] == [False, True, False]


@pytest.mark.parametrize("num_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_comes_before_a_file_that_cannot_be_read_is_written(
    model, source, tmp_path, expected, monkeypatch, num_workers
):
    monkeypatch.setattr(bulk, "CHUNK_TEXTS", 16)
    broken, output = tmp_path / "not.parquet", tmp_path / "out.jsonl"
    broken.write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"not\.parquet is not Parquet"):
        predict_files(model, [source, broken], output, num_workers=num_workers)
    assert plain(rows(tmp_path / "out.jsonl.part")) == plain(expected)


def test_columns_of_a_table_have_different_names(model, tmp_path, caplog):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,text,label,input_label,start\n7,Amelia flew to Paris .,urgent,x,9:00\n")
    predict_files(model, [source], output, threshold=0.0)
    with output.open(newline="") as file:
        header, *lines = csv.reader(file)
    kept = ["input_input_label", "input_label", "input_start"]
    assert header == ["id", *kept, "start", "end", "label", "score", "span"]
    assert lines
    assert all(line[:4] == ["7", "urgent", "x", "9:00"] for line in lines)
    assert "the column 'label' of the input is written as 'input_input_label'" in caplog.text


def test_texts_are_not_written_as_words_after_all_of_them_were_read(model, source, tmp_path):
    for ending, format in (("conll", None), ("jsonl", "gliner")):
        output = tmp_path / f"out.{ending}"
        with pytest.raises(ValueError, match="has words, but a row has no 'tokens'"):
            predict_files(model, [source], output, output_format=format)
        assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    words = tmp_path / "words.conll"
    words.write_text("Amelia\nflew\n\nParis\n")
    predict_files(model, [words], tmp_path / "out.conll")
    assert len(read_annotations(tmp_path / "out.conll")) == 2


def test_a_folder_with_a_slash_is_written_as_brat(model, source, tmp_path):
    predict_files(model, [source], f"{tmp_path}/out/")
    assert (tmp_path / "out" / "0.ann").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out"]
    with pytest.raises(FileExistsError, match=r"out already has documents, such as 0\.ann: choose an empty folder"):
        predict_files(model, [source], f"{tmp_path}/out/", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out"], "before anything is read"


def test_what_cannot_be_written_is_refused_before_anything_is_read(model, source, tmp_path):
    with pytest.raises(ValueError, match="does not tell how to write it: pass output_format= one of conll, jsonl"):
        predict_files(model, [source], tmp_path / "out.docx")
    with pytest.raises(ValueError, match="output_format='conllu' must be one of conll"):
        predict_files(model, [source], tmp_path / "out.txt", output_format="conllu")
    with pytest.raises(ValueError, match="standard output takes JSON lines only, not 'html'"):
        predict_files(model, [source], "-", output_format="html")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_the_next_texts_are_fetched_while_the_model_reads(model, source, tmp_path, monkeypatch):
    """The model gets each chunk only once the next one has come, which it has if they are fetched meanwhile."""
    monkeypatch.setattr(bulk, "CHUNK_TEXTS", 4)
    num_chunks = len(TEXTS) // 4
    arrived = [threading.Event() for _ in range(num_chunks)]
    read_items, read, calls = bulk.read_items, Reader.read, iter(range(num_chunks))

    def arriving(*args):
        for number, item in enumerate(read_items(*args)):
            arrived[number // 4].set()
            yield item

    def waiting(self, *args):
        number = next(calls)
        assert arrived[min(number + 1, num_chunks - 1)].wait(timeout=20), "the store is not read meanwhile"
        return read(self, *args)

    monkeypatch.setattr(bulk, "read_items", arriving)
    monkeypatch.setattr(Reader, "read", waiting)
    assert predict_files(model, [source], tmp_path / "out.jsonl").num_texts == len(TEXTS)


@pytest.mark.parametrize("num_ahead", [1, 2, 9])
def test_what_is_fetched_ahead_stays_in_order_and_so_does_an_error(num_ahead):
    def items():
        yield from range(1, 6)
        raise ValueError("the sixth")

    assert [*fetch_ahead(iter(range(1, 6)), num_ahead)] == [*range(1, 6)]
    seen = []
    with pytest.raises(ValueError, match="the sixth"):
        seen += fetch_ahead(items(), num_ahead)
    assert seen == [*range(1, 6)]


def test_the_text_is_that_of_its_column_in_every_format(model, tmp_path):
    source, bodies = tmp_path / "in.jsonl", TEXTS[:3]
    lines = [{"text": "another text", "body": body, "n": number} for number, body in enumerate(bodies)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, format in (("brat", "brat"), ("x.spacy", None), ("x.html", None), ("x.csv", None)):
        predict_files(model, [source], tmp_path / name, output_format=format, text_column="body")
    expected = predict_files(model, [source], tmp_path / "x.jsonl", text_column="body").num_entities
    for name in ("brat", "x.spacy"):
        found = read_annotations(tmp_path / name)
        assert found["text"][:] == bodies
        assert sum(map(len, found["entities"])) == expected > 0
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "another text" not in page
    with (tmp_path / "x.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert {(line["text"], line["n"]) for line in cells} == {("another text", str(number)) for number in range(3)}
    assert "body" not in cells[0]
    source.write_text(json.dumps({"text": "another text", "words": TEXTS[0].split()}) + "\n")
    predict_files(model, [source], tmp_path / "x.conll", text_column="words")
    assert read_annotations(tmp_path / "x.conll")["tokens"][:] == [TEXTS[0].split()]


def test_formats_without_errors_leave_out_what_could_not_be_read(model, tmp_path, caplog):
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "Amelia flew"}\n{"text": null}\nno JSON\n{"text": "Paris"}\n')
    for name, format in (("brat", "brat"), ("x.spacy", None), ("x.html", None)):
        report = predict_files(model, [source], tmp_path / name, output_format=format, on_error="column")
        assert (report.num_texts, report.num_errors) == (4, 2)
        assert "2 texts that could not be read are left out, since the format" in caplog.text
        caplog.clear()
    assert read_annotations(tmp_path / "x.spacy")["text"][:] == ["Amelia flew", "Paris"]
    assert read_annotations(tmp_path / "brat")["id"][:] == ["000000", "000003"]
    source.write_text('{"tokens": ["Amelia"]}\n{"tokens": ["Paris", 7]}\n')
    predict_files(model, [source], tmp_path / "x.conll", on_error="column")
    assert read_annotations(tmp_path / "x.conll")["tokens"][:] == [["Amelia"]]


def test_a_folder_with_documents_is_refused_before_anything_is_read(model, source, tmp_path):
    output = tmp_path / "brat"
    predict_files(model, [source], output, output_format="brat")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(FileExistsError, match="brat (exists: pass|already has documents)"):
            predict_files(model, [source], output, output_format="brat", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["brat", "in.jsonl"]


@pytest.mark.parametrize("content", ["x" * 30, ["x" * 10] * 3])
def test_long_texts_are_read_a_few_at_a_time_whether_they_are_split_into_words_or_not(monkeypatch, content):
    monkeypatch.setattr(bulk, "CHUNK_CHARACTERS", 100)
    items = [Item({}, content, str(number), 0) for number in range(9)] + [Item({}, None, "bad", 0, ValueError("x"))]
    assert [len(chunk) for chunk in bulk.chunks_of(iter(items), "column")] == [3, 3, 4]
