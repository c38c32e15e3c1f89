"""A reader that travels: it holds the name of a model and how to use it, and loads the model where it arrives."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from span_marker.data.rows import check_text, check_words
from span_marker.modeling import SpanMarkerModel

OnError = Literal["raise", "column"]


class Reading(NamedTuple):
    """What was read of a text.

    Attributes:
        entities: Its entities, as `SpanMarkerModel.predict` returns them.
        error: What is wrong with the text if it could not be read, otherwise None.
    """

    entities: list[Any]
    error: str | None = None

    def columns(self) -> dict[str, Any]:
        """Return what to add to the row of the text: ``entities``, and ``error`` only if there is one."""
        return {"entities": self.entities} if self.error is None else {"entities": [], "error": self.error}


@dataclass(frozen=True)
class Reader:
    """Finds the entities of texts, in any process that it is sent to.

    It is a few bytes when pickled. The model is loaded when a process first reads with it, and once per process.

    Attributes:
        model: Folder of a checkpoint, or its name on the Hub.
        device: Device of the model; None for an accelerator if there is one.
        dtype: Data type of the model, such as ``"bfloat16"``; None for that of `SpanMarkerModel.from_pretrained`.
        num_threads: Number of threads for the model, in every process that reads; None leaves it as it is.
        on_error: What happens to texts that cannot be read, such as None: ``"raise"`` raises their error, ``"column"``
            returns it in place of entities.
        options: Options of `SpanMarkerModel.predict`.

    Example:
        >>> reader = Reader("my-model", on_error="column", options={"threshold": 0.8})
        >>> [reading.entities for reading in reader(["Paris", None])]  # doctest: +SKIP
        [[{'span': 'Paris', ...}], []]
    """

    model: str
    device: str | None = None
    dtype: str | None = None
    num_threads: int | None = None
    on_error: OnError = "raise"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "column"):
            raise ValueError(f"on_error must be 'raise' or 'column', not {self.on_error!r}")

    def load(self) -> SpanMarkerModel:
        """Load the model, once per process.

        Returns:
            The model.

        Raises:
            FileNotFoundError: If there is no such model.
            ValueError: If it cannot be loaded, or an option is wrong.
            TypeError: If there is no such option.
        """
        if self.num_threads is not None and torch.get_num_threads() != self.num_threads:
            torch.set_num_threads(self.num_threads)
        model: Any = _load(self.model, self.device, self.dtype)
        model.predict([], **self.options)  # checks the options
        return model

    def __call__(self, contents: Sequence[Any], places: Sequence[str] | None = None) -> list[Reading]:
        """Find the entities of some texts.

        Args:
            contents: Strings, or lists of words, or both.
            places: What to call each of them in errors. Defaults to their numbers.

        Returns:
            What was read of each, in order.

        Raises:
            TypeError: If one is neither a string nor a list of words, and ``on_error`` is ``"raise"``.
        """
        model = self.load()
        readings: list[Reading] = [Reading([])] * len(contents)
        good: dict[bool, list[int]] = {False: [], True: []}
        for index, content in enumerate(contents):
            is_text = content is None or isinstance(content, str)
            place = f"row {index}" if places is None else places[index]
            try:
                (check_text if is_text else check_words)(content, f"{place}: {'text' if is_text else 'tokens'}")
            except TypeError as error:
                if self.on_error == "raise":
                    raise
                readings[index] = Reading([], str(error))
            else:
                good[not is_text].append(index)
        for are_words, indices in good.items():
            sentences = [contents[index] for index in indices]
            found: Any = (
                model.predict(sentences, is_split_into_words=are_words or False, **self.options) if indices else []
            )
            for index, entities in zip(indices, found, strict=True):
                readings[index] = Reading(entities)
        return readings


@functools.lru_cache(maxsize=2)
def _load(path: str, device: str | None, dtype: str | None) -> SpanMarkerModel:
    settings: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    model: Any = SpanMarkerModel.from_pretrained(path, **settings)
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def available_cpus() -> int:
    """Count the CPUs that this process may use: its affinity, and the quota of its container if it has one.

    Returns:
        At least 1.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")  # version 2 of cgroups
    if quota.exists():
        limit, period = quota.read_text().split()
        if limit != "max":
            count = min(count, math.ceil(int(limit) / int(period)))
    return max(count, 1)
