"""Ray Data: find the entities of data sets on a cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

from span_marker.bulk.reader import Reader
from span_marker.core.extras import import_extra
from span_marker.prediction.readings import Reading

PACKAGES = "'ray[data]'"
"""The package that `pip` installs for Ray Data."""

NUM_RETRIES = 3
"""Number of retries of a block whose actor was killed: as for a Ray task. Ray Data would retry forever, so a row that
kills its reader would never let the job end."""

SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
"""Fractions of a CPU that an actor may reserve."""


RESERVED = {"num_cpus": 1, "num_gpus": 0}
"""CPUs that an actor of Ray Data reserves by default."""


def predict_dataset(
    dataset: Any,
    model: str | os.PathLike[str],
    *,
    concurrency: int = 1,
    num_threads: int | None = None,
    num_gpus: float = 0,
    rows_per_block: int = 1024,
    **settings: Any,
) -> Any:
    """Find the entities of the rows of a Ray Data set, in actors that load the model once.

    Like everything in Ray Data, it is lazy: nothing is read until the result is written or iterated over. All columns
    are kept. See `Reader.schema` for the added columns.

    Blocks are split to ``rows_per_block`` rows, since an actor takes whole blocks, and a small file would be a single
    block. Ray keeps the order of rows only if ``dataset.context.execution_options.preserve_order`` is set.

    Ray reads files on CPUs that no actor has reserved, and waits forever if there are none. So actors reserve CPUs for
    their threads only as long as one CPU remains; they still compute with all of their threads. Actors of earlier
    stages of the data set, such as another call, keep their reservations; if these leave only that one CPU, the new
    actors reserve nothing.

    The dashboard and Prometheus show the counters ``span_marker_texts``, ``_words``, ``_entities``, ``_errors``,
    ``_candidates`` and ``_candidates_kept``.

    Args:
        dataset: The `ray.data.Dataset`.
        model: Folder of a checkpoint that all machines can read, or a name on the Hub.
        concurrency: Number of actors. Each holds the model.
        num_threads: Number of threads of each actor. Defaults to 1 with a GPU, and otherwise to the CPUs of the
            smallest machine, divided by the number of actors per machine.
        num_gpus: GPUs of each actor; a fraction for several actors per GPU.
        rows_per_block: Maximum number of rows that an actor processes at a time, and repeats if it is killed.
        **settings: Settings of `Reader`, such as ``text_column`` and ``on_error``, and options of
            `SpanMarkerModel.predict`, which sorts the rows of a block by length.

    Returns:
        The data set with entities.

    Raises:
        ImportError: If Ray is not installed.
        ValueError: If the cluster has too few CPUs or GPUs, or a setting is wrong.
        TypeError: If there is no such setting, or ``model`` is not a path.
    """
    ray = import_extra("ray", PACKAGES, "ray")
    import_extra("ray.data", PACKAGES, "ray")
    for name, value in (("concurrency", concurrency), ("num_threads", num_threads), ("rows_per_block", rows_per_block)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if not ray.is_initialized():
        ray.init()
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if num_gpus:
        gpus = [machine.get("GPU", 0) for machine in machines]
        check_gpus(gpus, concurrency, num_gpus, held_by_actors(dataset, "num_gpus"))
        num_threads = num_threads or 1
    cpus = [machine["CPU"] for machine in machines if machine.get("CPU", 0) >= 1]
    num_threads = num_threads or threads_per_actor(cpus, concurrency)
    # With a checkpoint, an actor of Ray's own looks up what an earlier run has done, on another CPU.
    num_spare = 1 if dataset.context.checkpoint_config is None else 2
    reader = Reader(model, num_threads=num_threads, device="cuda" if num_gpus else "cpu", **settings)
    return dataset.repartition(target_num_rows_per_block=rows_per_block).map_batches(
        ReaderActor,
        fn_constructor_args=(reader,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=concurrency),
        num_cpus=reserved_cpus(cpus, concurrency, num_threads, num_spare, held_by_actors(dataset, "num_cpus")),
        num_gpus=num_gpus or None,
        max_task_retries=NUM_RETRIES,
    )


class ReaderActor:
    """The code that runs in an actor: a `Reader` that counts what it reads.

    Args:
        reader: The reader.
    """

    def __init__(self, reader: Reader) -> None:
        from ray.util.metrics import Counter

        reader.load()  # its errors come before any row is read
        self._reader = reader
        descriptions = {
            "texts": "Texts that were read.",
            "words": "Words that were read.",
            "entities": "Entities that were found.",
            "errors": "Texts that could not be read.",
            "candidates": "Spans scored by the candidate filter, or all candidates without a filter.",
            "candidates_kept": "Candidates that got markers.",
        }
        self._counters = {name: Counter(f"span_marker_{name}", text) for name, text in descriptions.items()}

    def __call__(self, table: Any) -> Any:
        """Add the entities to a table."""
        readings = self._reader.read(self._reader.contents(table))
        for name, count in count_readings(readings).items():
            if count:
                self._counters[name].inc(count)
        return self._reader.add(table, readings)


def count_readings(readings: Sequence[Reading]) -> dict[str, int]:
    """Count what was read.

    Args:
        readings: Readings of texts.

    Returns:
        Numbers of texts, words, entities, errors, candidates, and candidates that got markers.
    """
    coverages = [reading.coverage for reading in readings if reading.coverage is not None]
    num_candidates = sum(coverage.num_scored for coverage in coverages)
    return {
        "texts": len(readings),
        "words": sum(coverage.num_words for coverage in coverages),
        "entities": sum(len(reading.entities) for reading in readings),
        "errors": sum(reading.error is not None for reading in readings),
        "candidates": num_candidates,
        "candidates_kept": num_candidates - sum(coverage.num_dropped for coverage in coverages),
    }


def threads_per_actor(cpus: Sequence[float], concurrency: int) -> int:
    """Divide the CPUs of the smallest machine by the number of actors that it gets if they are spread evenly.

    Args:
        cpus: Number of CPUs of each machine.
        concurrency: Number of actors.

    Returns:
        Number of threads per actor, at least 1.
    """
    return max(1, int(min(cpus, default=1) // math.ceil(concurrency / max(len(cpus), 1))))


def held_by_actors(dataset: Any, resource: Literal["num_cpus", "num_gpus"]) -> list[float]:
    """List the reservations of actors in earlier stages of a data set, which run at the same time.

    Args:
        dataset: The `ray.data.Dataset`.
        resource: The resource.

    Returns:
        The amount that each of them reserves; none for materialized stages.
    """
    held: list[float] = []
    for operator in dataset._logical_plan.dag.post_order_iter():  # private: nothing else tells the stages
        fields = {name.removeprefix("_"): value for name, value in vars(operator).items()}  # Ray 2.51 has them with it
        pool: Any = fields.get("compute")
        if hasattr(pool, "max_size"):
            count = pool.max_size if math.isfinite(pool.max_size) else pool.min_size
            held += [fields["ray_remote_args"].get(resource, RESERVED[resource])] * count
    return held


def not_held(amounts: Sequence[float], held: Sequence[float]) -> list[float]:
    """Compute the remaining resources of machines if each actor is placed where most is left, as Ray does.

    Args:
        amounts: Amount on each machine.
        held: Amount that each actor reserves.

    Returns:
        Remaining amount on each machine.

    Example:
        >>> not_held([4, 8], [3, 3])
        [4, 2]
    """
    left = [*amounts]
    for amount in held:
        left[left.index(max(left))] -= amount
    return left


def reserved_cpus(
    cpus: Sequence[float], concurrency: int, num_threads: int, num_spare: int = 1, held: Sequence[float] = ()
) -> float:
    """Choose the number of CPUs to reserve per actor, so that all actors start and some CPUs remain for reading.

    Args:
        cpus: Number of CPUs of each machine.
        concurrency: Number of actors.
        num_threads: Number of threads of each.
        num_spare: Number of CPUs that must remain, on one machine.
        held: Number of CPUs that each actor of earlier stages reserves, which leaves ``num_spare``.

    Returns:
        The largest possible number of CPUs, at most ``num_threads``: whole, or one of `SHARES`. If earlier stages leave
        no others, 0, with which an actor always starts.

    Raises:
        ValueError: If there are too few.

    Example:
        >>> reserved_cpus([8], concurrency=2, num_threads=3)
        3
        >>> reserved_cpus([2], concurrency=2, num_threads=1)
        0.5
        >>> reserved_cpus([4], concurrency=1, num_threads=4, held=[3])
        0
    """
    if num_threads > max(cpus, default=0):
        raise ValueError(
            f"num_threads={num_threads}, but the largest machine of the cluster has {max(cpus, default=0):g} CPUs: "
            "lower num_threads, or pass the number of CPUs to ray.init"
        )
    left = not_held(cpus, held)
    for reserved in (*range(num_threads, 0, -1), *SHARES) if max(left) >= num_spare else ():
        places = [max(cpu // reserved, 0) for cpu in left]
        lost = min(places[i] - (cpu - num_spare) // reserved for i, cpu in enumerate(left) if cpu >= num_spare)
        if sum(places) - lost >= concurrency:
            return reserved
    if held:
        return 0
    raise ValueError(
        f"concurrency={concurrency}, but the cluster has {sum(cpus):g} CPUs, and Ray Data needs {num_spare} of them to "
        f"read data: lower concurrency, or call ray.init(num_cpus={num_spare + 1}) on a smaller machine"
    )


def check_gpus(gpus: Sequence[float], concurrency: int, num_gpus: float, held: Sequence[float] = ()) -> None:
    """Check that all actors get their GPUs, since Ray waits forever for missing ones.

    Args:
        gpus: Number of GPUs of each machine.
        concurrency: Number of actors.
        num_gpus: GPUs of each.
        held: GPUs of each actor of earlier stages.

    Raises:
        ValueError: If there are too few.
    """
    free, places = (sum(max(int(gpu // num_gpus), 0) for gpu in some) for some in (not_held(gpus, held), gpus))
    if free >= concurrency:
        return
    if places >= concurrency:
        raise ValueError(
            f"concurrency={concurrency} with num_gpus={num_gpus:g}, but earlier stages of the data set hold "
            f"{sum(held):g} of the {sum(gpus):g} GPUs at the same time: lower num_gpus in all calls, or call "
            "materialize() on the data set before this one"
        )
    raise ValueError(
        f"concurrency={concurrency} with num_gpus={num_gpus:g}, but the cluster has {sum(gpus):g} GPUs: "
        f"lower concurrency to {places}, or num_gpus"
        if places
        else f"num_gpus={num_gpus:g}, but no machine of the cluster has that many: {[*gpus]}"
    )
