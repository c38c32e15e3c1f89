"""Problems of annotated data: their kinds, how bad they are, and a report of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from span_marker.data.columns import Unit

KINDS: dict[str, tuple[str, str]] = {
    "malformed-row": ("error", "rows that are no text or words with annotations"),
    "malformed-entity": ("error", "entities that are malformed or out of range"),
    "tag-count": ("error", "rows with more or fewer tags than words"),
    "unknown-tag": ("error", "tags that are not in the label list"),
    "unknown-label": ("error", "entities with a label that the model does not have"),
    "cut-word": ("loss", "entities that begin or end inside a word"),
    "too-long": ("loss", "entities longer than entity_max_length"),
    "two-labels": ("loss", "entities with the words of another one and another label, for want of multi_label=True"),
    "blank-entity": ("loss", "entities of white space only"),
    "entity-without-token": ("loss", "entities that end in words for which the tokenizer has no token"),
    "nested": ("note", "entities inside a longer one"),
    "crossing": ("note", "entities that cross another one"),
    "repeated-entity": ("note", "entities that are listed twice"),
    "edge-space": ("note", "entities with white space at an edge"),
    "shared-sentence": ("note", "sentences that an earlier split has, too"),
    "repeated-sentence": ("note", "sentences that occur again in their split"),
    "long-text": ("note", "sentences longer than the text limit: they are read in windows"),
    "word-without-token": ("note", "sentences with words for which the tokenizer has no token"),
    "empty-row": ("note", "rows without words"),
}
"""Severity of each kind of problem, and what to call many of them; the worst come first."""

NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Problem:
    """A finding in one row.

    Attributes:
        kind: A key of `KINDS`.
        message: What is the matter and where, as a sentence.
        split: Name of the data set.
        row: Row in it, 0-based.
        unit: What start and end count.
        start: Where it begins, if it is in a part of the row.
        end: Where it ends, exclusive.
        label: Label of the entity, if it is about one.
    """

    kind: str
    message: str
    split: str
    row: int
    unit: Unit
    start: int | None = None
    end: int | None = None
    label: str | None = None

    @property
    def severity(self) -> str:
        """``error``, ``loss`` or ``note``."""
        return KINDS[self.kind][0]


@dataclass(frozen=True)
class Report:
    """What `validate` found; as a string, a table with the first examples of each kind.

    Attributes:
        problems: All problems, row after row.
        num_rows: Rows of each split.
        num_entities: Entities that could be read.
    """

    problems: tuple[Problem, ...]
    num_rows: dict[str, int]
    num_entities: int

    @property
    def is_clean(self) -> bool:
        """Whether there are neither errors nor losses; notes are allowed."""
        return all(problem.severity == "note" for problem in self.problems)

    def counts(self) -> dict[str, int]:
        """Count the problems of each kind that there is, the worst first."""
        found = Counter(problem.kind for problem in self.problems)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def by_kind(self, kind: str) -> tuple[Problem, ...]:
        """Pick the problems of a kind, a key of `KINDS`."""
        if kind not in KINDS:
            raise ValueError(f"there is no kind {kind!r} of problems, only {list(KINDS)}")
        return tuple(problem for problem in self.problems if problem.kind == kind)

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {number:,}" for name, number in self.num_rows.items())
        severities = Counter(problem.severity for problem in self.problems)
        totals = ", ".join(f"{name}: {severities[name]:,}" for name in ("error", "loss", "note"))
        lines = [f"rows: {rows}; entities: {self.num_entities:,}; {totals}"]
        for kind, number in self.counts().items():
            severity, description = KINDS[kind]
            lines += ["", f"{severity:<5}  {kind:<20} {number:>8,}  {description}"]
            lines += [f"       {problem.message}" for problem in self.by_kind(kind)[:NUM_EXAMPLES]]
            lines += [f"       ... and {number - NUM_EXAMPLES:,} more"] if number > NUM_EXAMPLES else []
        return "\n".join(lines)
