"""A reader that can be sent to other processes: it holds the name and the options of a model, and loads it there.

Only `Reader.load` imports PyTorch, so a process that only sends readers does not need it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from span_marker.core.checks import check_limit
from span_marker.core.forks import was_forked
from span_marker.core.settings import CONFIG_FILE
from span_marker.prediction.arrow import AddedColumns, add_columns, as_table, find_column, output_schema
from span_marker.prediction.readings import OnError, Reading, check_row_options, read_contents, reading_columns
from span_marker.rules.rules import RULES_FILE

if TYPE_CHECKING:
    from span_marker.modeling import SpanMarkerModel

_CHECKPOINT_ENDINGS = (".json", ".safetensors", ".bin", ".onnx", ".data", ".xml")
"""File extensions of the weights and settings of a checkpoint."""


class Reader:
    """Finds the entities of texts, in any process.

    Called with a batch of rows, it adds the column ``entities``, and ``relations`` if the model has them. It can be
    passed to anything that maps a function over batches: `datasets.Dataset.map`, Ray Data, Spark, process pools.

    When pickled, it is only a few hundred bytes. Each process loads the model once, on first use. A reader belongs to
    the current state of the checkpoint: after training again, create a new one, so that cached results of the old one
    are not reused.

    Args:
        model: Folder of a checkpoint, or its name on the Hub.
        text_column: The column with the texts, strings or lists of words. Defaults to ``text`` or ``tokens``.
        on_error: What happens to texts that cannot be read, such as None or a text that exhausts memory: ``"raise"``
            raises the error; ``"column"`` puts it into a column ``error``, which is None elsewhere, and leaves
            ``entities`` empty.
        device: Device of the model. Defaults to an accelerator if available.
        dtype: Data type of the model, such as ``"bfloat16"``. Defaults to that of `SpanMarkerModel.from_pretrained`.
        num_threads: Number of threads of the model in each process. By default it is left unchanged, except that forked
            processes use one.
        **options: Options of `SpanMarkerModel.predict`.

    Raises:
        TypeError: If ``model`` is a model rather than a path, ``predict`` has no such option, or ``num_threads`` is
            not a whole number.
        ValueError: If ``on_error`` is unknown, or ``num_threads`` is less than 1.

    Example:
        >>> reader = Reader("my-model", on_error="column", threshold=0.8)
        >>> dataset.map(reader, batched=True, num_proc=2)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        text_column: str | None = None,
        on_error: OnError = "raise",
        device: str | None = None,
        dtype: str | None = None,
        num_threads: int | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(model, (str, os.PathLike)):
            raise TypeError(
                f"model must be a folder or a name on the Hub, not {type(model).__name__}, since each process loads "
                "it: save yours with model.save_pretrained('folder'), and pass the folder"
            )
        check_row_options(on_error, options)
        check_limit("num_threads", num_threads, at_least=1, also=(None,))
        # Elsewhere, another folder may be the current one.
        self.model = os.path.abspath(model) if os.path.isdir(model) else os.fspath(model)
        self.text_column = text_column
        self.on_error = on_error
        self.device = device
        self.dtype = dtype
        self.num_threads = num_threads
        self.options = options
        self._state = _state_of(self.model)
        self._finds_relations: bool | None = options.get("relations")
        if self._finds_relations is None and any(name == CONFIG_FILE for name, *_ in self._state):
            self._finds_relations = has_relations(self.model)

    def load(self) -> SpanMarkerModel:
        """Load the model, once per process.

        Returns:
            The model.

        Raises:
            FileNotFoundError: If there is no such model.
            ValueError: If it cannot be loaded, or an option is wrong.
        """
        from span_marker.preprocessing.processes import set_num_threads

        if self.num_threads is not None:
            set_num_threads(1 if was_forked() else self.num_threads)
        model: Any = _load(self.model, self.device, self.dtype, self._state)
        model.predict([], **self.options)  # checks the options
        if model.rules is not None and not self._added.with_origins:
            raise ValueError(
                f"{self.model!r} has rules, so its entities have an origin, but this is known in advance only for a "
                "folder: download it with huggingface_hub.snapshot_download, and pass its folder"
            )
        if self._finds_relations is None and model.config.relation_labels is not None:
            raise ValueError(
                f"{self.model!r} has relations, but this is known in advance only for a folder: pass relations=True to "
                "find them, or relations=False"
            )
        return model

    def read(self, contents: Sequence[Any], places: Sequence[str] | None = None) -> list[Reading]:
        """Find the entities of texts.

        Args:
            contents: Strings, or lists of words, or both.
            places: Name of each text in error messages. Defaults to its 0-based index in this batch.

        Returns:
            One reading per text, in order.

        Raises:
            TypeError: If one is neither a string nor a list of words, and ``on_error`` is ``"raise"``.
        """
        if places is None:
            places = [f"row {index} of its batch" for index in range(len(contents))]
        return read_contents(self.load(), contents, self.on_error, self.options, places)

    def __call__(self, batch: Any) -> Any:
        """Find the entities of a batch of rows.

        Args:
            batch: An Arrow table or record batch, or a dict of columns. Texts in columns of strings are read as texts,
                those in columns of lists as words.

        Returns:
            A table, or a record batch if one was passed: the rows in order with their columns, plus those of `schema`.

        Raises:
            TypeError: If ``batch`` is none of these types, its column of texts has another type, or a text is None and
                ``on_error`` is ``"raise"``.
            ValueError: If there is no such column.
        """
        table = as_table(batch)
        return self.add(table, self.read(self.contents(table)))

    def contents(self, table: Any) -> list[Any]:
        """Return the texts of an Arrow table or record batch."""
        return table.column(find_column(table.schema, self.text_column)).to_pylist()

    def add(self, table: Any, readings: Sequence[Reading]) -> Any:
        """Add readings to an Arrow table or record batch.

        Args:
            table: The table or record batch.
            readings: The reading of each row.

        Returns:
            The same kind of object, with the columns of `schema`.
        """
        return add_columns(table, self.schema(table.schema), reading_columns(readings, self._added.names))

    def schema(self, schema: Any) -> Any:
        """Return the schema of the tables that the reader returns.

        Args:
            schema: The Arrow schema of the input tables.

        Returns:
            The schema with ``entities``; ``relations`` if relations are predicted; and ``error`` if ``on_error`` is
            ``"column"``. These replace columns with the same names. ``entities`` is a list of structs with the keys of
            `Entity`, ``relations`` of those with the keys of `Relation`; indices are int64, scores double.

        Raises:
            ValueError: If there is no column of texts.
            TypeError: If it has another type.
        """
        column = find_column(schema, self.text_column)
        return output_schema(schema, column, self._added)

    @property
    def fingerprint(self) -> str:
        """An identifier of the state of a checkpoint folder; the same for all names on the Hub."""
        return hashlib.sha256(repr(self._checkpoint_files).encode()).hexdigest()

    @property
    def changed_at(self) -> int:
        """Time of the latest change of the checkpoint's files, in nanoseconds; 0 for a name on the Hub."""
        return max((time for *_, time in self._checkpoint_files), default=0)

    @property
    def _checkpoint_files(self) -> list[tuple[str, int, int]]:
        return [state for state in self._state if state[0].endswith(_CHECKPOINT_ENDINGS)]

    @property
    def added_columns(self) -> list[str]:
        """Names of the columns that the reader adds."""
        return self._added.names

    @property
    def _added(self) -> AddedColumns:
        return AddedColumns(
            with_labels=bool(self.options.get("top_k")),
            with_origins=bool(self.options.get("propagate")) or any(name == RULES_FILE for name, *_ in self._state),
            with_relations=bool(self._finds_relations),
            with_errors=self.on_error == "column",
        )


def has_relations(folder: str) -> bool:
    """Tell whether a checkpoint has relations, without loading it.

    Args:
        folder: Its folder.

    Returns:
        Whether it does; False if its configuration cannot be read, which is reported when the model is loaded.
    """
    try:
        config = json.loads(Path(folder, CONFIG_FILE).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(config, dict) and config.get("relation_labels") is not None


def _state_of(folder: str) -> tuple[tuple[str, int, int], ...]:
    """An identifier of the state of a checkpoint folder: names, sizes and times of its files."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file()) if os.path.isdir(folder) else []
    states = [(str(path.relative_to(folder)), path.stat()) for path in files]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


@functools.lru_cache(maxsize=2)
def _load(path: str, device: str | None, dtype: str | None, state: tuple[tuple[str, int, int], ...]) -> SpanMarkerModel:
    """Load a model, unless it is already loaded in this state."""
    from span_marker.modeling import SpanMarkerModel
    from span_marker.preprocessing.processes import move_to_device

    settings: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    return move_to_device(SpanMarkerModel.from_pretrained(path, **settings), device)
