"""What is right and wrong about the relations of annotated data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from span_marker.core.tables import TextReport, text_table
from span_marker.error_analysis import bootstrap
from span_marker.error_analysis.bootstrap import Figures
from span_marker.error_analysis.examples import CONTEXT, Example, list_examples
from span_marker.error_analysis.matching import JudgedSentence
from span_marker.error_analysis.relation_matching import RELATION_KINDS, RelationKind, tally_relations

COLUMNS = ("gold", "predicted", "precision", "recall", "f1")


@dataclass(frozen=True)
class RelationErrors(TextReport):
    """What is right and wrong about the relations of annotated data. ``print`` shows tables, and errors of each kind.

    Attributes:
        sentences: The sentences whose relations are annotated and predicted, and their outcomes.
        measures: Figures by the measures ``strict`` and ``boundaries``, see
            `span_marker.core.relation_metrics.relation_metrics`.
        labels: Strict figures of each label.
        kinds: Number of outcomes of each of `span_marker.error_analysis.relation_matching.RELATION_KINDS`.
        num_examples: Maximum number of errors to show per kind.
    """

    sentences: Sequence[JudgedSentence] = field(repr=False)
    measures: Mapping[str, Figures]
    labels: Mapping[str, Figures]
    kinds: Mapping[RelationKind, int]
    num_examples: int

    @classmethod
    def from_sentences(
        cls,
        sentences: Sequence[JudgedSentence],
        *,
        num_examples: int = 10,
        num_resamples: int = 1000,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> RelationErrors | None:
        """Create a report.

        Args:
            sentences: The sentences. Those whose relations are None are left out.
            num_examples: Maximum number of errors to show per kind.
            num_resamples: See `bootstrap.resample`.
            confidence: Confidence of the intervals, above 0 and below 1.
            seed: Seed of the resamples.

        Returns:
            The report; None if no sentence is left.

        Raises:
            ValueError: If an argument is out of range.
        """
        judged = [sentence for sentence in sentences if sentence.relations is not None]
        if not judged:
            return None
        outcomes = [sentence.relations or () for sentence in judged]
        families = tally_relations(outcomes)
        counts = {(place, name): group for place, family in enumerate(families) for name, group in family.items()}
        figures = bootstrap.estimate(counts, num_resamples, confidence, seed)
        measures, labels = ({name: figures[place, name] for name in family} for place, family in enumerate(families))
        numbers = Counter(outcome.kind for of_sentence in outcomes for outcome in of_sentence)
        kinds = {kind: numbers[kind] for kind in RELATION_KINDS}
        return cls(judged, measures, labels, kinds, num_examples)

    @property
    def overall(self) -> Figures:
        """The strict figures of all relations."""
        return self.measures["strict"]

    def by_kind(self, kind: RelationKind) -> list[Example]:
        """List the outcomes of a kind.

        Args:
            kind: A key of `span_marker.error_analysis.relation_matching.RELATION_KINDS`.

        Returns:
            The outcomes, most frequent first; those with the same labels and texts are counted together.

        Raises:
            ValueError: If the kind is unknown.
        """
        if kind not in RELATION_KINDS:
            raise ValueError(f"kind={kind!r} must be one of {list(RELATION_KINDS)}")
        return list_examples(self.sentences, kind, "relations")

    def families(self) -> Iterator[tuple[str, Mapping[str, Figures]]]:
        """List the tables of figures, each with its name."""
        yield "relations, by measure", self.measures
        yield "relations, by label", self.labels

    def outcomes(self) -> Iterator[tuple[str, str, str, str]]:
        """List the rows of the table of outcomes: kind, number, and its share of gold relations and of predictions."""
        outcomes = [outcome for sentence in self.sentences for outcome in sentence.relations or ()]
        of_gold = Counter(outcome.kind for outcome in outcomes if outcome.gold)
        of_predicted = Counter(outcome.kind for outcome in outcomes if outcome.predicted)
        for kind, number in self.kinds.items():
            shares = (of_gold[kind], self.overall.num_gold), (of_predicted[kind], self.overall.num_predicted)
            in_gold, in_predicted = (f"{part / total:.2%}" if part else "" for part, total in shares)
            yield kind, f"{number:,}", in_gold, in_predicted

    def errors(self) -> Iterator[tuple[str, list[str]]]:
        """List the errors of each kind: a title, and a line for each of the most frequent ones."""
        for kind, number in self.kinds.items():
            if number and kind != "correct" and self.num_examples:
                examples = self.by_kind(kind)[: self.num_examples]
                yield (
                    f"{kind}: {number:,} {RELATION_KINDS[kind]}",
                    [f"{example.number:>6,}x  {example.as_line(CONTEXT)}" for example in examples],
                )

    def summary(self) -> str:
        """State the number of sentences whose relations are evaluated, which may be fewer than all."""
        return (
            f"relations of {len(self.sentences):,} sentences; gold relations: {self.overall.num_gold:,}; predictions: "
            f"{self.overall.num_predicted:,}; intervals from resamples of these sentences"
        )

    def tables(self) -> list[list[tuple[str, ...]]]:
        """List the cells of all tables."""
        tables = [[(name, *COLUMNS), *map(figures_row, family, family.values())] for name, family in self.families()]
        return [*tables, [("relations, by outcome", "number", "of gold", "of predicted"), *self.outcomes()]]

    def __str__(self) -> str:
        errors = ["\n".join([title, *lines]) for title, lines in self.errors()]
        return "\n\n".join([self.summary(), *map(text_table, self.tables()), *errors])


def figures_row(name: str, figures: Figures) -> tuple[str, ...]:
    """Format the metrics of a group as a row.

    Args:
        name: Name of the group.
        figures: Its figures.

    Returns:
        The cells: the name, and those of `COLUMNS`.
    """
    intervals = (f"{figure.value:.4f} {figure.interval}" for figure in (figures.precision, figures.recall, figures.f1))
    return name, f"{figures.num_gold:,}", f"{figures.num_predicted:,}", *intervals
