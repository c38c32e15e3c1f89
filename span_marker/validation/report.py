"""Reports on problems of annotated data, their kinds and severities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from span_marker.core.tables import TextReport
from span_marker.data.rows import Unit

if TYPE_CHECKING:
    from span_marker.validation.fixes import FixReport

SHIFTED, LABEL_SPACE = "shifted-offsets", "label-space"

KINDS: dict[str, tuple[str, str]] = {
    "tag-names": ("error", "data sets with names of integer tags that cannot be labels, even if they are unused"),
    "unreadable-row": ("error", "rows of a file that cannot be read, and are not checked further"),
    "malformed-row": ("error", "rows without words or a text, or without a list of annotations"),
    "malformed-entity": ("error", "entities that are malformed or out of range"),
    "malformed-relation": ("error", "relations that are malformed, or whose head or tail is not an entity of the row"),
    "self-relation": ("error", "relations of an entity with itself"),
    "shared-label": ("error", "labels of relations that are also labels of entities"),
    "tag-count": ("error", "rows with more or fewer tags than words"),
    "unknown-tag": ("error", "tags that are not in the label list"),
    "unknown-label": ("error", "entities and relations with a label that the model does not have"),
    SHIFTED: ("loss", "entities of data whose offsets are wrong throughout, such as inclusive ends"),
    "partial-word": ("loss", "entities that begin or end inside a word"),
    "too-long": ("loss", "entities longer than entity_max_length"),
    "same-span-labels": (
        "loss",
        "entities that share their words with an entity of another label (needs multi_label=True)",
    ),
    "blank-entity": ("loss", "entities of white space only"),
    "relation-beyond-window": ("loss", "relations of entities that no window of the sentence contains together"),
    "further-relation": ("loss", "second relations of a pair of head and tail: a pair has only one"),
    "ruled-out-relation": ("loss", "relations of entities whose labels the model's relation_types do not allow"),
    "entity-without-token": ("loss", "entities that end in words for which the tokenizer has no token"),
    "conflicting-sentence": ("doubt", "sentences that are annotated differently where they first occur"),
    "conflicting-label": ("doubt", "entities whose text nearly always has another label"),
    LABEL_SPACE: ("doubt", "entities whose label has white space or invisible characters at an edge"),
    "tag-label": ("doubt", "labels of entities that look like tags of words, such as B-PER beside I-PER"),
    "label-variant": ("doubt", "labels that differ from a more frequent one only by case or abbreviation"),
    "boundary-variant": ("doubt", "entities whose text is annotated with one word more or less elsewhere"),
    "symbol-edge": ("doubt", "entities with a symbol at an edge that others with their label treat differently"),
    "rare-label": ("doubt", "labels with few entities"),
    "unseen-label": ("doubt", "labels that the first split lacks, so a model trained on it cannot predict them"),
    "word-piece": (
        "doubt",
        "sentences whose words are pieces of a tokenizer: join them, since texts to predict have words",
    ),
    "nested": ("note", "entities inside a longer one"),
    "crossing": ("note", "entities that cross another one"),
    "repeated-entity": ("note", "entities that are listed twice"),
    "repeated-relation": ("note", "relations that are listed twice"),
    "rare-relation-types": ("note", "relations between labels that no other relation with the same label joins"),
    "relation-across-sentences": ("note", "relations of entities in different sentences of their row"),
    "outer-whitespace": ("note", "entities with white space at an edge"),
    "unspaced-word": (
        "note",
        "entities that begin or end where words have no spaces between them: pass a model with a word_splitter",
    ),
    "partial-grapheme": (
        "note",
        "entities that begin or end inside a character of several code points: all of it is read",
    ),
    "shared-sentence": ("note", "sentences that also occur in an earlier split"),
    "repeated-sentence": ("note", "sentences that occur again in their split"),
    "long-text": ("note", "sentences longer than the text limit: they are read in windows"),
    "word-without-token": ("note", "sentences with words for which the tokenizer has no token"),
    "empty-row": ("note", "rows without words"),
    "html-escape": ("note", "rows with HTML escapes: the texts to predict should have them, too"),
    "repeated-id": ("note", "rows with the 'id' of another row of their split"),
}
"""Severity and description of each kind of problem; the most severe come first."""

SEVERITIES = ("error", "loss", "doubt", "note")
"""An *error* would stop training, a *loss* cannot be trained on or predicted, a *doubt* is probably a mistake of the
annotation, and a *note* has no effect on training."""

FIXES: dict[str, str] = {
    SHIFTED: "moved, as nearly all entities of the data need; validate again for the rest",
    "malformed-entity": "dropped: they are malformed or out of range",
    "blank-entity": "dropped: they are white space only",
    "repeated-entity": "dropped: they are listed twice",
    "partial-word": "moved to the nearest ends of words",
    "outer-whitespace": "stripped of white space",
    "partial-grapheme": "extended to whole characters",
    LABEL_SPACE: "label stripped of white space and invisible characters",
}
"""The kinds of problems that `ValidationReport.fix` fixes, and what happens to their entities. If the boundaries of an
entity have several problems, the first is fixed, which fixes the others. If offsets are wrong throughout, other
problems with boundaries are unreliable, and only the offsets are fixed."""

RENAMED = "renamed-label"
"""Name in reports of entities that `ValidationReport.fix` relabeled at the caller's request."""

MIN_MENDED = 0.05
"""Minimum share of the entities that another ``word_splitter`` must keep whole to be worth a change: fewer may be
typing errors, which splitting into single characters would hide."""

NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Problem:
    """A problem of a row.

    Attributes:
        kind: A key of `KINDS`.
        message: What is wrong, and where, in a sentence.
        split: Name of the data set.
        row: Index of the row, 0-based. Where each row of a table is one entity, that of the text. 0 for a problem of
            the whole data set, such as ``tag-names``, and for ``unreadable-row``, whose message has the line.
        unit: What start and end count.
        start: Start of the part of the row that it is about; None if it is about the whole row, or unknown.
        end: End of this part, exclusive.
        label: Label of the entity or the relation that it is about; None if it is about something else.
        entity: Index of this entity in the ``entities`` of the row, 0-based; None as above, and for rows with tags.
        id: The row's own ``id``; None if the data has no such column.
        replacement: Start and end that `ValidationReport.fix` gives the entity; None if it does not move it.
        new_label: The label that it gives the entity; None if it leaves the label.
        severity: One of `SEVERITIES`. Defaults to that of the kind.
        relation: Index in the ``relations`` of the row, 0-based, of the relation that it is about; None if it is about
            something else.
    """

    kind: str
    message: str
    split: str
    row: int
    unit: Unit
    start: int | None = None
    end: int | None = None
    label: str | None = None
    entity: int | None = None
    id: Any = None
    replacement: tuple[int, int] | None = None
    new_label: str | None = None
    severity: str = ""
    relation: int | None = None

    def __post_init__(self) -> None:
        """Fill in the severity."""
        if not self.severity:
            object.__setattr__(self, "severity", KINDS[self.kind][0])


@dataclass(frozen=True, slots=True)
class RowPlace:
    """The location of a row. Its string is used in messages.

    Attributes:
        split: Name of its data set.
        row: Its index.
        unit: What its entities count.
        id: Its own ``id``, or None.
    """

    split: str
    row: int
    unit: Unit
    id: Any = None

    def __str__(self) -> str:
        own = "" if self.id is None else f" (id {self.id!r})"
        return f"row {self.row} of the {self.split} data{own}"

    def problem(self, kind: str, message: str, entity: int | None = None, **details: Any) -> Problem:
        """Describe a problem of the row.

        Args:
            kind: A key of `KINDS`.
            message: What is wrong.
            entity: Index of the entity that it is about, or None.
            **details: Other attributes of `Problem`.

        Returns:
            The problem. Its message begins with the place.
        """
        place = str(self) if entity is None else f"{self}, entity {entity}"
        return Problem(
            kind, f"{place}: {message}", self.split, self.row, self.unit, entity=entity, id=self.id, **details
        )


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
        """Whether there are neither errors nor losses; doubts and notes are allowed."""
        return all(problem.severity in ("doubt", "note") for problem in self.problems)

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
            The one with the longest words, if several are equal; None if none of them keeps 5% of the entities whole
            that the model's own cuts, or if offsets are wrong throughout.
        """
        best = min(self.word_cuts, key=self.word_cuts.__getitem__, default=None)
        if best is None or any(problem.kind == SHIFTED for problem in self.problems):
            return None
        num_mended = next(iter(self.word_cuts.values())) - self.word_cuts[best]
        return best if num_mended >= max(1, MIN_MENDED * self.num_entities) else None

    def fix(
        self,
        data: Any,
        kinds: Iterable[str] = tuple(FIXES),
        rename: Mapping[str, str] | None = None,
        **read_options: Any,
    ) -> tuple[Any, FixReport]:
        """Fix the problems that need no human decision, in a copy of the data.

        Args:
            data: What `validate` was called with.
            kinds: The kinds to fix, keys of `FIXES`: ``malformed-entity`` and ``blank-entity`` drop the entity,
                ``repeated-entity`` drops it where it is listed again, ``outer-whitespace`` strips its edges,
                ``partial-grapheme`` extends them to whole characters, ``label-space`` strips its label, and
                ``partial-word`` moves its edges to the nearest ends of words, which are those that `validate` used. An
                entity stays if no end of a word is clearly meant. ``shifted-offsets`` moves all entities; nothing else
                but labels is fixed then, so validate the data again. Defaults to all of these kinds.
            rename: New names of labels, by the old ones.
            **read_options: Those that `validate` was called with.

        Returns:
            The data, in the form that it was passed in (a `Dataset`, a list of dicts, a DataFrame, or a dict of these;
            paths and tables of other libraries become a `Dataset`), and a report of what was changed, and of what was
            left because it may be correct as written. ``data`` itself is not changed. In tables with one entity per
            row, the rows of dropped entities are removed, except the last one of a text. Unreadable rows of a file are
            removed.

        Raises:
            TypeError: If ``data`` is not annotated data.
            ValueError: If a kind is unknown or cannot be fixed, the data is not what the report is about, or no entity
                has a label that ``rename`` names.

        Example:
            >>> from datasets import Dataset
            >>> from span_marker import validate
            >>> data = Dataset.from_list([{"text": "Ann went", "entities": [{"label": "PER", "start": 0, "end": 5}]}])
            >>> fixed, changes = validate(data).fix(data)
            >>> fixed[0]["entities"]
            [{'label': 'PER', 'start': 0, 'end': 3}]
            >>> print(changes)
            entities changed: 1, in 1 row
            <BLANKLINE>
            partial-word                1  moved to the nearest ends of words
                   row 0 of the annotated data, entity 0: 'PER' from characters 0 to 5 is now from 0 to 3
        """
        from span_marker.validation.fixes import fix  # it is about problems, too

        return fix(data, self.problems, self.num_rows, kinds, rename or {}, read_options)

    def to_pandas(self) -> Any:
        """Return the problems as a ``pandas.DataFrame``, one row per problem, one column per attribute of `Problem`."""
        import pandas as pd  # takes long to import

        names = [column.name for column in fields(Problem)]
        table = pd.DataFrame([[getattr(problem, name) for name in names] for problem in self.problems], columns=names)
        return table.astype(dict.fromkeys(("row", "start", "end", "entity", "relation"), "Int64"))

    def __str__(self) -> str:
        rows = ", ".join(f"{name} {number:,}" for name, number in self.num_rows.items())
        severities = Counter(problem.severity for problem in self.problems)
        totals = ", ".join(f"{name}: {severities[name]:,}" for name in SEVERITIES)
        lines = [f"rows: {rows}; entities: {self.num_entities:,}; {totals}"]
        best = self.suggested_splitter()
        if best is not None:
            name, number = next(iter(self.word_cuts.items()))
            lines.append(
                f"{number / self.num_entities:.1%} of the entities begin or end inside a word with word_splitter="
                f"{name!r}, {self.word_cuts[best] / self.num_entities:.1%} with word_splitter={best!r}: pass it to "
                "from_pretrained before training"
            )
        by_kind: dict[str, list[Problem]] = {kind: [] for kind in KINDS}
        for problem in self.problems:
            by_kind[problem.kind].append(problem)
        found = sorted(filter(None, by_kind.values()), key=lambda problems: SEVERITIES.index(problems[0].severity))
        for problems in found:
            kind, number = problems[0].kind, len(problems)
            lines += ["", f"{problems[0].severity:<5}  {kind:<20} {number:>8,}  {KINDS[kind][1]}"]
            lines += [f"       {problem.message}" for problem in problems[:NUM_EXAMPLES]]
            lines += [f"       ... and {number - NUM_EXAMPLES:,} more"] if number > NUM_EXAMPLES else []
        return "\n".join(lines)
