"""Relations reach every way of predicting, or are left out where they have no place."""

import copy
import json
from types import SimpleNamespace

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from datasets import Dataset
from helpers import RELATIONS, relation_model
from serving import running
from tiny import SENTENCES, build_model

import span_marker
from span_marker import SpanMarkerModel, read_annotations
from span_marker.bulk import Reader, predict_files
from span_marker.data.files import write_annotations
from span_marker.integrations.mcp import Session
from span_marker.runtime import ExportedModel, ExportedSettings

TEXTS = [" ".join(words) for words in SENTENCES if words]
GOLD = [{"label": "x", "head": 0, "tail": 1}]


@pytest.fixture(scope="module")
def model():
    return relation_model(reads_tokens=True)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relations") / "model"
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "model"
    build_model().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def expected(model):
    found = model.predict(TEXTS, is_split_into_words=False)
    assert any(result["relations"] for result in found)
    return [[shape(one) for one in result["relations"]] for result in found]


def shape(relation):
    """A relation without its score, which depends on the batch in the last digits."""
    return relation["label"], relation["head"], relation["tail"]


def shapes(rows):
    return [[shape(one) for one in row] for row in rows]


@pytest.mark.parametrize("make", [pa.table, pd.DataFrame, pl.DataFrame], ids=["arrow", "pandas", "polars"])
def test_tables_have_a_column_of_relations(model, make, expected):
    table = make({"relations": [GOLD] * len(TEXTS), "text": TEXTS})
    result = pa.table(model.predict_table(table, top_k=2, on_error="column"))
    assert result.schema.names == ["text", "entities", "relations", "error"]
    assert shapes(result["relations"].to_pylist()) == expected
    scored = pa.struct({"label": pa.string(), "score": pa.float64()})
    relations = model.predict_table(pa.table({"text": TEXTS}), top_k=2).schema.field("relations").type.value_type
    assert relations == pa.struct(
        {
            "label": pa.string(),
            "score": pa.float64(),
            "head": pa.int64(),
            "tail": pa.int64(),
            "labels": pa.list_(scored),
        }
    )
    result = pa.table(model.predict_table(table, relations=False))
    assert result.schema.names == ["text", "entities"], "relations of other entities are left out"


def test_a_column_of_errors_that_was_there_stays(model):
    table = pa.table({"error": ["a"], "text": ["Paris"]})
    assert model.predict_table(table)["error"].to_pylist() == ["a"]


def test_a_reader_knows_from_the_folder_what_it_adds(folder, plain_folder, expected):
    table = pa.table({"text": TEXTS, "relations": [GOLD] * len(TEXTS)})
    result = Reader(folder)(table)
    assert shapes(result["relations"].to_pylist()) == expected
    assert Reader(folder).schema(table.schema) == result.schema
    assert Reader(folder, relations=False)(table).schema.names == ["text", "entities"]
    assert Reader(plain_folder)(table).schema.names == ["text", "entities"]
    with pytest.raises(ValueError, match="the model has no relations"):
        Reader(plain_folder, relations=True).load()
    reader = Reader(folder)
    reader._finds_relations = None  # as with a name on the Hub
    with pytest.raises(ValueError, match="pass relations=True to find them, or relations=False"):
        reader.load()


def test_a_data_set_is_mapped(folder, expected):
    result = Dataset.from_dict({"text": TEXTS}).map(Reader(folder), batched=True)
    assert shapes(result["relations"]) == expected


def test_files_have_relations_or_say_that_they_have_none(folder, tmp_path, expected, caplog):
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text, "relations": GOLD}) + "\n" for text in TEXTS))
    predict_files(folder, [source], tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert shapes(row["relations"] for row in rows) == expected
    predict_files(folder, [source], tmp_path / "out.parquet")
    assert shapes(pyarrow.parquet.read_table(tmp_path / "out.parquet")["relations"].to_pylist()) == expected
    predict_files(folder, [source], tmp_path / "out.html")
    assert (tmp_path / "out.html").read_text().count("<svg") == sum(map(bool, expected))
    assert "not written" not in caplog.text
    predict_files(folder, [source], tmp_path / "out.csv")
    assert "relations" not in (tmp_path / "out.csv").read_text().splitlines()[0]
    assert f"{sum(map(len, expected))} relations are not written" in caplog.text
    predict_files(folder, [source], tmp_path / "none.jsonl", relations=False)
    assert '"relations"' not in (tmp_path / "none.jsonl").read_text()


def named(row, start, end):
    """The relations of a row with the places of their entities."""
    places = [(entity["label"], entity[start], entity[end]) for entity in row["entities"]]
    return sorted((one["label"], places[one["head"]], places[one["tail"]]) for one in row["relations"] or ())


@pytest.mark.parametrize("file_format", ["jsonl", "brat"])
def test_writers_take_what_predict_returns(model, tmp_path, file_format):
    dataset = Dataset.from_dict({"id": [f"text-{n}" for n in range(len(TEXTS))], "text": TEXTS})
    rows = model.predict(dataset, keep_columns=["id", "text"])
    for one in (one for row in rows for one in row["relations"]):
        one["label"] = one["label"].replace(" ", "-")  # brat has no labels with spaces
    write_annotations(tmp_path / "x", rows, format=file_format)
    read = {row["text"]: named(row, "start", "end") for row in read_annotations(tmp_path / "x", format=file_format)}
    assert read == {row["text"]: named(row, "char_start_index", "char_end_index") for row in rows}
    assert any(read.values())


def test_the_pipeline_has_the_shape_of_predict_or_of_its_task(model, expected):
    pipe = span_marker.pipeline("span-marker", model=model, device="cpu")
    found = pipe(TEXTS)
    assert shapes(result["relations"] for result in found) == expected
    assert shapes(result["relations"] for result in pipe(Dataset.from_dict({"text": TEXTS}))) == expected
    assert pipe(TEXTS, relations=False) == [result["entities"] for result in found]
    groups = pipe(TEXTS, aggregation_strategy="simple")
    assert [[entity["word"] for entity in row] for row in groups] == [
        [entity["span"] for entity in result["entities"]] for result in found
    ]
    asked = pipe(TEXTS, aggregation_strategy="simple", relations=True)
    assert [result["entities"] for result in asked] == groups
    assert shapes(result["relations"] for result in asked) == expected
    assert [set(result) for result in pipe(TEXTS[:1], aggregation_strategy="simple", relation_threshold=0.5)] == [
        {"entities", "relations"}
    ]


def test_tools_for_agents_extract_relations_and_redact_entities(model, expected):
    session = Session(model)
    answer = session.extract(TEXTS)
    assert shapes(map(dict, row) for row in answer.relations) == expected
    assert Session(build_model()).extract(TEXTS).relations is None
    assert len(session.redact(TEXTS).texts) == len(TEXTS)


def test_presidio_gets_entities(model):
    pytest.importorskip("presidio_analyzer")
    from span_marker.integrations.presidio import SpanMarkerRecognizer

    recognizer = SpanMarkerRecognizer(model)
    assert recognizer.analyze(TEXTS[0], None)
    with pytest.raises(TypeError, match="'relations' cannot be set here"):
        SpanMarkerRecognizer(model, relations=True)


def test_documents_of_frameworks_have_relations(folder, expected):
    haystack = pytest.importorskip("haystack")
    from span_marker.integrations.haystack import SpanMarkerExtractor

    documents = [haystack.Document(content=text, meta={"relations": GOLD, "a": 1}) for text in TEXTS]
    found = SpanMarkerExtractor(folder).run(documents)["documents"]
    assert shapes(document.meta["relations"] for document in found) == expected
    found = SpanMarkerExtractor(folder, relations=False).run(documents)["documents"]
    assert [(document.meta["relations"], document.meta["a"]) for document in found] == [(GOLD, 1)] * len(TEXTS)


def test_the_server_has_the_thresholds_of_the_model(model, expected, monkeypatch):
    with running({"related": model}) as server:
        assert server.ask("/info").json["models"][0]["relation_thresholds"] is None
        assert shapes(server.ask("/predict", {"inputs": TEXTS}).json["relations"]) == expected
        least = dict.fromkeys(model.config.relation_labels[1:], 1.0)
        monkeypatch.setattr(model.config, "relation_thresholds", least)
        assert server.ask("/info").json["models"][0]["relation_thresholds"] == least
        assert not any(server.ask("/predict", {"inputs": TEXTS}).json["relations"])
        assert any(server.ask("/predict", {"inputs": TEXTS, "relation_threshold": 0.0}).json["relations"])


def test_the_server_answers_with_relations(model, expected):
    with running({"related": model, "plain": build_model()}) as server:
        answer = server.ask("/predict", {"inputs": TEXTS}).json
        assert shapes(answer["relations"]) == expected
        assert shapes([server.ask("/predict", {"inputs": TEXTS[0]}).json["relations"]]) == expected[:1]
        assert set(server.ask("/predict", {"inputs": TEXTS, "relations": False}).json) == {"model", "entities"}
        assert set(server.ask("/predict", {"inputs": TEXTS, "model": "plain"}).json) == {"model", "entities"}
        refused = server.ask("/predict", {"inputs": TEXTS, "model": "plain", "relations": True})
        assert (refused.status, "the model has no relations" in refused.error) == (422, True)
        some = server.ask("/predict", {"inputs": TEXTS, "labels": ["PER", "ORG"], "relation_threshold": 0.0}).json
        for entities, relations in zip(some["entities"], some["relations"], strict=True):
            assert len(relations) == len(entities) * (len(entities) - 1)
        lines = "".join(json.dumps({"text": text, "relations": GOLD}) + "\n" for text in TEXTS)
        for query, has_relations in (("", True), ("?relations=false", False)):
            body = server.ask(f"/predict/stream{query}", lines.encode(), {"Content-Type": "application/jsonl"}).body
            rows = [json.loads(line) for line in body.splitlines()]
            assert [row.get("relations") is not None for row in rows] == [has_relations] * len(TEXTS)
            if has_relations:
                assert shapes(row["relations"] for row in rows) == expected
        assert all("entity_group" in entity for entity in server.ask("/", {"inputs": TEXTS[0]}).json)
        assert server.ask("/info").json["models"][0]["relation_labels"] == RELATIONS


def test_an_exported_model_without_relations_refuses_them(model):
    config = ExportedSettings(id2label=dict(enumerate(model.config.classes)), entity_max_length=4)
    exported = ExportedModel(config, model.tokenizer, SimpleNamespace(max_distance=512), None, 32, "onnx")
    with pytest.raises(ValueError, match="the model has no relations"):
        exported.predict([], relations=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_keeps_its_relations_in_its_number_format(model, tmp_path, dtype):
    saved = SpanMarkerModel.from_pretrained(save(model, tmp_path / "first"), dtype=dtype)
    loaded = SpanMarkerModel.from_pretrained(save(saved, tmp_path / "second"), dtype="auto")
    assert loaded.relation_head.markers.dtype == dtype
    assert all(torch.equal(*pair) for pair in zip(saved.parameters(), loaded.parameters(), strict=True))
    assert loaded.predict(TEXTS, is_split_into_words=False) == saved.predict(TEXTS, is_split_into_words=False)


def save(model, folder):
    model.save_pretrained(folder)
    return folder


def test_entities_alone_are_measured(model):
    """What has no place for relations asks for none: a wrong shape would fail."""
    rows = [{"text": text, "entities": [{"label": "PER", "start": 0, "end": 1}]} for text in TEXTS]
    dataset = Dataset.from_list(rows)
    assert span_marker.analyze_errors(model, dataset).overall[0] == len(TEXTS)
    assert span_marker.tune_thresholds(copy.deepcopy(model), dataset)
