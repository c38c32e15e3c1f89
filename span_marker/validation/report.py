"""Problems of annotated data: their kinds and severities, and a report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from span_marker.core.tables import TextReport
from span_marker.data.rows import Unit

KINDS: dict[str, tuple[str, str]] = {
    "malformed-row": ("error", "rows without words or a text, or without a list of annotations"),
    "malformed-entity": ("error", "entities that are malformed or out of range"),
    "tag-count": ("error", "rows with more or fewer tags than words"),
    "unknown-tag": ("error", "tags that are not in the label list"),
    "unknown-label": ("error", "entities with a label that the model does not have"),
    "partial-word": ("loss", "entities that begin or end inside a word"),
    "too-long": ("loss", "entities longer than entity_max_length"),
    "same-span-labels": (
        "loss",
        "entities that share their words with an entity of another label (needs multi_label=True)",
    ),
    "blank-entity": ("loss", "entities of white space only"),
    "entity-without-token": ("loss", "entities that end in words for which the tokenizer has no token"),
    "nested": ("note", "entities inside a longer one"),
    "crossing": ("note", "entities that cross another one"),
    "repeated-entity": ("note", "entities that are listed twice"),
    "outer-whitespace": ("note", "entities with white space at an edge"),
    "shared-sentence": ("note", "sentences that also occur in an earlier split"),
    "repeated-sentence": ("note", "sentences that occur again in their split"),
    "long-text": ("note", "sentences longer than the text limit: they are read in windows"),
    "word-without-token": ("note", "sentences with words for which the tokenizer has no token"),
    "empty-row": ("note", "rows without words"),
}
"""Severity and description of each kind of problem; the most severe come first."""

NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Problem:
    """A problem of a row.

    Attributes:
        kind: A key of `KINDS`.
        message: What is wrong and where, as a sentence.
        split: Name of the data set.
        row: Index of the row, 0-based.
        unit: What start and end count.
        start: Start of the part of the row that it is about; None if it is about the whole row, or unknown.
        end: End of this part, exclusive.
        label: Label of the entity that it is about; None if it is about something else.
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
class ValidationReport(TextReport):
    """The result of `validate`. ``print`` shows a table with the first examples of each kind.

    Attributes:
        problems: All problems, in order of the rows.
        num_rows: Number of rows of each split.
        num_entities: Number of entities that could be read.
        word_cuts: Number of entities of texts that begin or end inside a word, by ``word_splitter``: that of the model
            first, then the others, from the longest words to the shortest. Empty without a model or without texts.
    """

    problems: tuple[Problem, ...] = field(repr=False)
    num_rows: dict[str, int]
    num_entities: int
    word_cuts: dict[str, int] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether there are neither errors nor losses; notes are allowed."""
        return all(problem.severity == "note" for problem in self.problems)

    def counts(self) -> dict[str, int]:
        """Count the problems of each kind that occurs, the most severe first."""
        numbers = Counter(problem.kind for problem in self.problems)
        return {kind: numbers[kind] for kind in KINDS if numbers[kind]}

    def by_kind(self, kind: str) -> tuple[Problem, ...]:
        """List the problems of a kind, a key of `KINDS`."""
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} must be one of {list(KINDS)}")
        return tuple(problem for problem in self.problems if problem.kind == kind)

    def suggested_splitter(self) -> str | None:
        """Find the ``word_splitter`` with which the fewest entities begin or end inside a word.

        Returns:
            The one with the longest words, if several are equal; None if the model's own is as good as any.
        """
        best = min(self.word_cuts, key=self.word_cuts.__getitem__, default=None)
        return None if best is None or best == next(iter(self.word_cuts)) else best

    def __str__(self) -> str:
        rows = ", ".join(f"{name} {number:,}" for name, number in self.num_rows.items())
        severities = Counter(problem.severity for problem in self.problems)
        totals = ", ".join(f"{name}: {severities[name]:,}" for name in ("error", "loss", "note"))
        lines = [f"rows: {rows}; entities: {self.num_entities:,}; {totals}"]
        best = self.suggested_splitter()
        if best is not None:
            name, number = next(iter(self.word_cuts.items()))
            lines.append(
                f"{number / self.num_entities:.1%} of the entities begin or end inside a word with word_splitter="
                f"{name!r}, {self.word_cuts[best] / self.num_entities:.1%} with word_splitter={best!r}: pass it to "
                "from_pretrained before training"
            )
        for kind, number in self.counts().items():
            severity, description = KINDS[kind]
            lines += ["", f"{severity:<5}  {kind:<20} {number:>8,}  {description}"]
            lines += [f"       {problem.message}" for problem in self.by_kind(kind)[:NUM_EXAMPLES]]
            lines += [f"       ... and {number - NUM_EXAMPLES:,} more"] if number > NUM_EXAMPLES else []
        return "\n".join(lines)
