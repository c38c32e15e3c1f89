"""Spark: find the entities of DataFrames, on any cluster, `local[*]` or Spark Connect."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from span_marker.bulk.reader import Reader
from span_marker.core.extras import import_extra

logger = logging.getLogger(__name__)

PACKAGES = "'pyspark[sql]'"
"""The package that `pip` installs for Spark DataFrames with Arrow."""


def predict_dataframe(
    dataframe: Any, model: str | os.PathLike[str], *, num_threads: int | None = None, **settings: Any
) -> Any:
    """Find the entities of the rows of a Spark DataFrame, with `mapInArrow`.

    It is lazy: nothing is read until Spark runs a job. All columns are kept. See `Reader.schema` for the added columns.
    Each Python worker of Spark loads the model once, and keeps it for later tasks. Spark runs one task per partition: a
    small file is a single partition, so call ``dataframe.repartition`` first to use more CPUs.

    Args:
        dataframe: The `pyspark.sql.DataFrame`, of an ordinary session or of Spark Connect.
        model: Folder of a checkpoint that all machines can read, or a name on the Hub.
        num_threads: Number of threads of each Python worker. Defaults to Spark's ``spark.task.cpus``, which is 1 unless
            it is set.
        **settings: Settings of `Reader`, such as ``text_column`` and ``on_error``, and options of
            `SpanMarkerModel.predict`.

    Returns:
        The DataFrame with entities.

    Raises:
        ImportError: If PySpark is not installed, or lacks pyarrow or pandas.
        ValueError: If there is no column of texts, or a setting is wrong.
        TypeError: If that column has another type, there is no such setting, or ``model`` is not a path.
    """
    import_extra("pyspark", PACKAGES, "spark")
    types = import_extra("pyspark.sql.pandas.types", PACKAGES, "spark")
    session = dataframe.sparkSession
    warn_of_retries(session.conf.get("spark.master", ""))
    if num_threads is None:
        num_threads = int(session.conf.get("spark.task.cpus", "1"))
    reader = Reader(model, num_threads=num_threads, **settings)
    output = reader.schema(types.to_arrow_schema(dataframe.schema))
    added = {field.name: types.from_arrow_type(field.type) for field in output if field.name in reader.added_columns}
    kept = [field for field in dataframe.schema.fields if field.name in output.names and field.name not in added]
    schema = type(dataframe.schema)(kept)
    for name, type_ in added.items():
        schema.add(name, type_)
    return dataframe.mapInArrow(partial(read_batches, reader), schema)


def read_batches(reader: Reader, batches: Iterable[Any]) -> Iterator[Any]:
    """Find the entities of record batches, one after the other.

    Args:
        reader: The reader.
        batches: The record batches.

    Yields:
        The record batches with the columns that the reader adds.
    """
    for batch in batches:  # not map, which would end, without an error, if the reader raised StopIteration
        yield reader(batch)


def warn_of_retries(master: str) -> None:
    """Warn if a local session does not retry failed tasks, such as those of a killed worker.

    Args:
        master: The master of the session, such as ``local[2]``.
    """
    if re.fullmatch(r"local(\[[^,\]]*\])?", master):
        threads = master.removeprefix("local").strip("[]") or "1"
        logger.warning(
            "Spark does not retry tasks with master=%r: a killed worker ends the job. Use master='local[%s,4]' for "
            "three retries.",
            master,
            threads,
        )
