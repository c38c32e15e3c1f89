"""Notes on parts of JSON records that are ignored or may be misread, collected for one warning per file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from span_marker.data.json_records import ROW_ID, Record, has
from span_marker.data.text_files import SourceFile

logger = logging.getLogger(__name__)

SHOWN = 5
"""Maximum number of records named in a warning."""


@dataclass
class RecordNotes:
    """Notes to warn about when all records of a file have been read.

    Attributes:
        num_records: Number of records.
        left_out: Places of records that are left out, by the reason.
        unread: Places of records that seem to be annotated under a key that is not read, by this key.
        ignored: Places of records with parts that are ignored, by the part.
        repeated: Number of entity strings that occur several times in their text, by the place of the record.
        unclear: Places of records that do not say what the places of entities count, where it matters.
        of_tasks: Places of records that are read, by the task that they are about.
    """

    num_records: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)
    unread: dict[str, list[str]] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)
    of_tasks: dict[str, list[str]] = field(default_factory=dict)

    def add(self, record: Record, place: str, reason: str | None) -> None:
        """Note what is not read of a record.

        Args:
            record: The record.
            place: Where it is.
            reason: Why it is left out; None if it is not.
        """
        for key in record.ignored:
            self.ignored.setdefault(key, []).append(place)
        if reason is not None:
            self.left_out.setdefault(reason, []).append(place)
        if record.repeated:
            self.repeated[place] = record.repeated
        if record.is_unclear:
            self.unclear.append(place)

    def add_unread(self, keys: Iterable[str], place: str) -> None:
        """Note keys that are not read, but seem to have the annotation of a record."""
        for key in keys:
            self.unread.setdefault(key, []).append(place)

    def add_task(self, value: Any, record: Record, place: str) -> None:
        """Note a record that is read, if a tool says which task it is about.

        Args:
            value: The record in its own shape.
            record: What was read of it.
            place: Where it is.
        """
        identity = repr(record.content.get("id"))
        keeps_ids = isinstance(value, Mapping) and any(key == "answer" or key.endswith("responses") for key in value)
        if has(value, ROW_ID) or (has(value, "data") and has(value["data"], ROW_ID)):
            self.of_tasks.setdefault(f"{ROW_ID} {identity}", []).append(place)
        elif keeps_ids and "id" in record.content:  # Prodigy and Argilla
            self.of_tasks.setdefault(f"id {identity}", []).append(place)
        elif record.task is not None:
            self.of_tasks.setdefault(f"hash or number {record.task}", []).append(place)

    def report(self, path: SourceFile) -> None:
        """Log a warning for each kind of note."""
        if self.left_out:
            reasons = [f"{len(places)} {reason} ({first_places(places)})" for reason, places in self.left_out.items()]
            num_left_out, together = sum(map(len, self.left_out.values())), "; ".join(reasons)
            logger.warning("%s: %d of %d records are left out: %s", path, num_left_out, self.num_records, together)
        if self.unread:
            logger.warning(
                "%s: some of the %d records have no entities under a known key, but may have some under another one: "
                "%s: if these are entities, rename the key",
                path,
                self.num_records,
                _by_name(self.unread),
            )
        if self.ignored:
            ignored = _by_name(self.ignored)
            logger.warning("%s: parts of some of the %d records are ignored: %s", path, self.num_records, ignored)
        if self.repeated:
            logger.warning(
                "%s: %d entity strings occur several times in their text, in %d of %d records (%s): with "
                "occurrences='all', every occurrence is an entity; with occurrences='in-order', only as many as there "
                "are strings",
                path,
                sum(self.repeated.values()),
                len(self.repeated),
                self.num_records,
                first_places([*self.repeated]),
            )
        if self.unclear:
            logger.warning(
                "%s: the offsets of entities after characters such as emoji, in %d of %d records (%s), are read as "
                "characters: pass offsets='utf-16' if they were annotated on a page of doccano or Argilla, which "
                "count UTF-16 units, otherwise offsets='codepoint'",
                path,
                len(self.unclear),
                self.num_records,
                first_places(self.unclear),
            )
        several = {task: places for task, places in self.of_tasks.items() if len(places) > 1}
        if several:
            task, places = next(iter(several.items()))
            logger.warning(
                "%s: %d tasks have several records, such as the one with the %s (%s), which are read as separate "
                "rows: keep one of each, if the tasks were imported or exported twice, or give the rows of different "
                "task files different IDs",
                path,
                len(several),
                task,
                first_places(places),
            )


def first_places(places: list[str]) -> str:
    """Name the first of some places, for a warning."""
    return ", ".join(places[:SHOWN])


def _by_name(notes: dict[str, list[str]]) -> str:
    return "; ".join(f"{name!r} in {len(places)} ({first_places(places)})" for name, places in notes.items())
