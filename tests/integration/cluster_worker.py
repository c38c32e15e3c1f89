"""Reads rows with an engine on this machine; run by test_clusters.py, which compares what it writes with `predict`.

``python cluster_worker.py ENGINE MODEL INPUT OUTPUT``: ``ENGINE`` is a name in `ENGINES`, ``INPUT`` a Parquet file with
the columns ``id`` and ``text``, ``OUTPUT`` a folder of Parquet files to write. Rows are read by two processes, which
wait for each other when they begin, and the first of them that comes to `DEADLY` is killed.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Before they are imported: no network, and the same Python for the workers. Ray gives its workers a small share of the
# processor otherwise, so that other tests at the same time would keep them waiting for minutes.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}

DEADLY = "This kills the process that reads it first ."
NUM_RETRIES = 1
"""How often Ray reads again what kills its process, in place of the library's number: each time takes a new process."""

PATIENCE = 200.0
"""How many seconds a process waits for the other one to begin."""


def as_a_whole(marker: str) -> Callable[[str], list[tuple[int, int]]]:
    """A splitter that leaves texts whole. As a closure, it is sent to other processes as code."""
    deadly, patience = DEADLY, PATIENCE

    def split(text: str) -> list[tuple[int, int]]:
        import glob
        import os
        import signal
        import time

        open(f"{marker}.{os.getpid()}.process", "w").close()
        began = time.monotonic()
        while len(glob.glob(f"{marker}.*.process")) < 2:
            if time.monotonic() - began > patience:
                raise TimeoutError("the other process did not begin: is everything read by one of them?")
            time.sleep(0.05)
        if text == deadly and not os.path.exists(f"{marker}.killed"):
            open(f"{marker}.killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return [(0, len(text))]

    return split


def and_notes(path: str) -> Callable[[str], list[tuple[int, int]]]:
    """A splitter that leaves texts whole, and writes a byte for each of them; what it reads of `DEADLY` kills it."""
    deadly = DEADLY

    def split(text: str) -> list[tuple[int, int]]:
        import os
        import signal

        with open(path, "ab") as file:
            file.write(b"." if text != deadly else b"!")
        if text == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return [(0, len(text))]

    return split


@contextmanager
def ray_cluster(num_cpus: int) -> Iterator[Any]:
    import ray

    temporary = tempfile.mkdtemp(prefix="ray")  # a short name, since sockets are in it
    ray.init(num_cpus=num_cpus, include_dashboard=False, object_store_memory=200 * 2**20, _temp_dir=temporary)
    yield ray
    ray.shutdown()
    shutil.rmtree(temporary, ignore_errors=True)


def read_with_ray(model: str, source: str, output: str) -> None:
    from span_marker.integrations import predict_dataset

    options = {"on_error": "column", "split_sentences": as_a_whole(output)}
    with ray_cluster(num_cpus=2) as ray:
        data = ray.data.read_parquet(source)
        result = predict_dataset(data, model, concurrency=2, num_threads=1, rows_per_block=8, **options)
        result.context.execution_options.preserve_order = True
        result.write_parquet(output)
        try:
            predict_dataset(data, model).materialize()
        except ray.exceptions.RayError as error:
            Path(f"{output}.error").write_text(str(error))


def read_twice_with_ray(model: str, source: str, output: str) -> None:
    """Read, and read again what was read, in stages that run at the same time; the first leaves a single CPU."""
    from span_marker.integrations import predict_dataset
    from span_marker.integrations.ray import held_by_actors

    options: dict[str, Any] = {"on_error": "column", "num_threads": 2, "rows_per_block": 8}
    with ray_cluster(num_cpus=2) as ray:
        once = predict_dataset(ray.data.read_parquet(source), model, **options)
        twice = predict_dataset(once, model, **options)
        assert held_by_actors(once, "num_cpus") == [1]
        assert held_by_actors(twice, "num_cpus") == [1, 0]
        assert held_by_actors(twice, "num_gpus") == [0, 0]
        twice.write_parquet(output)


def resume_with_ray(model: str, source: str, output: str) -> None:
    """Read some rows, and then all of them, as if a run had been stopped; and a row that kills whatever reads it."""
    from ray.data.checkpoint import CheckpointConfig

    import span_marker.integrations.ray
    from span_marker.integrations import predict_dataset

    span_marker.integrations.ray.NUM_RETRIES = NUM_RETRIES
    table = pq.read_table(source)
    is_deadly = pc.fill_null(pc.equal(table["text"], DEADLY), False)
    table = pa.table({"id": table["id"], "text": pc.if_else(is_deadly, table["text"][0], table["text"])})
    options = {"num_threads": 1, "rows_per_block": 8, "on_error": "column"}
    with ray_cluster(num_cpus=3) as ray:
        context = ray.data.DataContext.get_current()
        kept = {"id_column": "id", "checkpoint_path": f"{output}.checkpoint", "delete_checkpoint_on_success": False}
        context.checkpoint_config = CheckpointConfig(**kept)
        for name, part in (("first", table.slice(0, 20)), ("all", table)):
            pq.write_table(part, f"{output}.{name}.parquet")
            data = ray.data.read_parquet(f"{output}.{name}.parquet")
            predict_dataset(data, model, split_sentences=and_notes(f"{output}.read"), **options).write_parquet(output)
        context.checkpoint_config = None
        data = ray.data.from_arrow(pa.table({"text": [DEADLY]}))
        try:
            predict_dataset(data, model, split_sentences=and_notes(f"{output}.deadly"), **options).materialize()
        except ray.exceptions.RayError as error:
            Path(f"{output}.error").write_text(str(error))


def read_with_spark(model: str, source: str, output: str, connects: bool = False) -> None:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    from span_marker.integrations import predict_dataframe

    settings = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.local.dir": f"{output}.spark"}
    builder = SparkSession.builder.config(map=settings)
    session = (builder.remote if connects else builder.master)("local[2,2]").getOrCreate()
    data = session.read.parquet(source).repartition(4)
    result = predict_dataframe(data, model, on_error="column", split_sentences=as_a_whole(output))
    result.write.parquet(output)
    if not connects:
        words = session.createDataFrame([(["Paris"],)], "tokens array<string>")
        predict_dataframe(words, model, top_k=2).write.parquet(f"{output}.words")
        try:
            predict_dataframe(session.createDataFrame([(None,)], "text string").coalesce(1), model).collect()
        except PySparkException as error:
            Path(f"{output}.error").write_text(str(error))
    session.stop()


def read_with_connect(model: str, source: str, output: str) -> None:
    read_with_spark(model, source, output, connects=True)


def read_with_datasets(model: str, source: str, output: str) -> None:
    from datasets import Dataset

    from span_marker.bulk import Reader

    data: Any = Dataset.from_parquet(source, cache_dir=f"{output}.cache")
    if Path(output).exists():
        Reader.read = None  # type: ignore[assignment] # what is cached is not read again
    result = data.map(Reader(model, on_error="column"), batched=True, batch_size=8, num_proc=2)
    Path(output).mkdir(exist_ok=True)
    result.to_parquet(f"{output}/rows.parquet")


ENGINES = {
    "ray": read_with_ray,
    "chained": read_twice_with_ray,
    "resumed": resume_with_ray,
    "spark": read_with_spark,
    "connect": read_with_connect,
    "datasets": read_with_datasets,
}

if __name__ == "__main__":
    ENGINES[sys.argv[1]](*sys.argv[2:])
