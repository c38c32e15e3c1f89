"""Ray Data, Spark and `Dataset.map` on this machine find what `predict` finds, even if a process is killed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cluster_worker
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cluster_worker import DEADLY, NUM_RETRIES
from helpers import approximately, check_margin
from tiny import SENTENCES, build_model

from span_marker.bulk import Reader

pytestmark = pytest.mark.slow

SEED = 4
"""Of a model for which rounding decides nothing about these texts."""

SOME = [" ".join(words) for words in SENTENCES]
LONG = " ".join(SOME * 40)
"""A text of 960 words, which the model reads in windows."""

TEXTS = [*SOME * 4, None, DEADLY, "", LONG, *SOME * 3, None, " ", *SOME]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a small Parquet file, which is a single block, or partition."""
    folder = tmp_path_factory.mktemp("clusters")
    build_model(seed=SEED).save_pretrained(folder / "model")
    pq.write_table(pa.table({"id": [f"row {n}" for n in range(len(TEXTS))], "text": TEXTS}), folder / "in.parquet")
    return folder


@pytest.fixture(scope="module")
def expected():
    model = build_model(seed=SEED)
    texts = [text for text in TEXTS if text is not None]
    within = check_margin(model, texts)
    entities = iter(approximately(model.predict(texts, is_split_into_words=False), within))
    return [
        {"id": f"row {n}", "text": text, "entities": [] if text is None else next(entities)}
        for n, text in enumerate(TEXTS)
    ]


def run(engine, folder):
    """Run an engine; return its rows, and the path beside which it left what else it found."""
    output = folder / engine
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "home")}
    command = [
        sys.executable,
        cluster_worker.__file__,
        engine,
        *map(str, (folder / "model", folder / "in.parquet", output)),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = pq.ParquetDataset(output).read()
    source = pa.schema({"id": pa.string(), "text": pa.string()})
    assert table.schema.remove_metadata().equals(Reader("model", on_error="column").schema(source))
    return table.to_pylist(), output


def check(rows, expected):
    """That rows are those expected, in any order."""
    assert sorted(row["id"] for row in rows) == sorted(row["id"] for row in expected), "lost or doubled"
    by_id = {row["id"]: row for row in rows}
    for row in expected:
        found = by_id[row["id"]]
        assert (found["error"] is not None) == (row["text"] is None)
        assert {name: found[name] for name in row} == row


needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")


@pytest.mark.parametrize("engine", ["ray", *(pytest.param(name, marks=needs_java) for name in ("spark", "connect"))])
def test_a_cluster_finds_what_predict_finds(engine, folder, expected):
    """With two processes, one of which is killed while it reads: a new one, or the other, reads what it left."""
    rows, output = run(engine, folder)
    check(rows, expected)
    assert (folder / f"{engine}.killed").exists()
    assert len([*folder.glob(f"{engine}.*.process")]) >= 2
    if engine == "ray":
        assert [row["id"] for row in rows] == [row["id"] for row in expected]
    if engine != "connect":
        assert "text must be a string, not NoneType" in (folder / f"{engine}.error").read_text()
    if engine == "spark":
        (row,) = pq.ParquetDataset(f"{output}.words").read().to_pylist()
        (found,) = build_model(seed=SEED).predict([["Paris"]], is_split_into_words=True, top_k=2)
        assert row["tokens"] == ["Paris"]
        assert [{**entity, "score": 0, "labels": labels(entity)} for entity in row["entities"]] == [
            {**entity, "score": 0, "labels": labels(entity)} for entity in found
        ]


def test_stages_of_ray_wait_for_no_cpu_of_each_other(folder, expected):
    rows, _ = run("chained", folder)
    check(rows, expected)


def test_ray_goes_on_where_it_was_but_not_for_ever(folder, expected):
    rows, output = run("resumed", folder)
    check(rows, [{**expected[0], "id": row["id"]} if row["text"] == DEADLY else row for row in expected])
    assert len(Path(f"{output}.read").read_bytes()) == sum(text is not None for text in TEXTS), "each is read once"
    assert Path(f"{output}.deadly").read_bytes() == b"!" * (1 + NUM_RETRIES)
    assert Path(f"{output}.error").exists()


def labels(entity):
    return [pair["label"] for pair in entity["labels"]]


def test_datasets_map_finds_what_predict_finds_and_keeps_it(folder, expected):
    rows, _ = run("datasets", folder)
    assert [row["id"] for row in rows] == [row["id"] for row in expected]
    check(rows, expected)
    again, _ = run("datasets", folder)
    assert again == rows
