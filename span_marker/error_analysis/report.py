"""Reports of errors on annotated data, as text and as an HTML page."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from span_marker.core.labels import LabelledSpan
from span_marker.core.spans import IntArray
from span_marker.core.tables import TextReport, text_table
from span_marker.error_analysis import bootstrap, matching
from span_marker.error_analysis.bootstrap import Figures
from span_marker.error_analysis.examples import CONTEXT, Example, list_examples
from span_marker.error_analysis.matching import KINDS, JudgedSentence, Kind
from span_marker.error_analysis.page import write_report
from span_marker.error_analysis.relation_report import COLUMNS, RelationErrors, figures_row

ENTITY_LENGTHS = (1, 2, 3, 4, 5, 6, 9, 13)
SENTENCE_LENGTHS = (1, 10, 20, 30, 50, 100)
"""Start of each group of lengths, in words."""

NOTHING = "(nothing)"
"""Placeholder for the missing side of missed gold entities and spurious predictions."""

MOST_LABELS = 12
"""Maximum number of labels for which the confusion matrix is printed."""

OUTCOME_COLUMNS = ("outcome", "number", "of gold", "of predicted")

REASONS = {
    "too-long": "longer than entity_max_length",
    "cut-off": "in no window of model_max_length tokens",
    "entity-without-token": "end in words for which the tokenizer has no token",
    "partial-word": "begin or end inside a word of the tokenizer",
    "filtered": "dropped by the candidate filter",
}
"""Reasons why a model can never find a gold entity."""


@dataclass(frozen=True)
class ErrorReport(TextReport):
    """A report of errors on annotated data. ``print`` shows tables, and the most frequent errors of each kind.

    Attributes:
        sentences: The sentences and their outcomes.
        measures: Figures by the measures ``strict``, ``exact``, ``partial`` and ``type``, see
            `span_marker.error_analysis.matching.MEASURES`.
        labels: Strict figures of each label.
        entity_lengths: Strict figures of entities by their number of words.
        sentence_lengths: Strict figures of entities by the number of words of their sentence.
        splits: Strict figures of each data set.
        kinds: Number of outcomes of each of `span_marker.error_analysis.matching.KINDS`.
        confusion: Gold labels by predicted ones, in the order of ``labels``, ``(num_labels + 1, num_labels + 1)``; the
            last row counts spurious predictions, the last column missed gold entities.
        unreachable: Number of gold entities that the model cannot find, for each of the `REASONS`; None if the model is
            unknown.
        confidence: Confidence of the intervals, such as 0.95.
        num_resamples: Number of resamples behind the intervals.
        num_examples: Maximum number of errors to show per kind.
        model_name: Name of the model; None if unknown.
        dataset_name: Name of the data; None if unknown.
        date: The day of the analysis.
        relations: The report on relations; None if these are not annotated or not predicted.
    """

    sentences: Sequence[JudgedSentence] = field(repr=False)
    measures: Mapping[str, Figures]
    labels: Mapping[str, Figures]
    entity_lengths: Mapping[str, Figures]
    sentence_lengths: Mapping[str, Figures]
    splits: Mapping[str, Figures]
    kinds: Mapping[Kind, int]
    confusion: IntArray = field(compare=False, repr=False)
    unreachable: Mapping[str, int] | None
    confidence: float
    num_resamples: int
    num_examples: int
    model_name: str | None = None
    dataset_name: str | None = None
    date: datetime.date = field(default_factory=datetime.date.today, compare=False)
    relations: RelationErrors | None = None

    @classmethod
    def from_sentences(
        cls,
        sentences: Sequence[JudgedSentence],
        unreachable: Mapping[str, int] | None = None,
        *,
        num_examples: int = 10,
        num_resamples: int = 1000,
        confidence: float = 0.95,
        seed: int = 0,
        model_name: str | None = None,
        dataset_name: str | None = None,
    ) -> ErrorReport:
        """Create a report.

        Args:
            sentences: The sentences, with the outcomes of `span_marker.error_analysis.matching.match`.
            unreachable: Number of gold entities that the model cannot find, by reason.
            num_examples: Maximum number of errors to show per kind.
            num_resamples: Number of resamples of the sentences, see `bootstrap.resample`.
            confidence: Confidence of the intervals, above 0 and below 1.
            seed: Seed of the resamples.
            model_name: What to call the model.
            dataset_name: What to call the data.

        Returns:
            The report.

        Raises:
            ValueError: If there are no sentences, or an argument is out of range.
        """
        if num_examples < 0:
            raise ValueError(f"num_examples={num_examples} must be at least 0")
        by_label = matching.tally(sentences, lambda _, span: span.label)
        families = (
            matching.tally_measures(sentences),
            {label: by_label[label] for label in sorted(by_label)},
            matching.tally_lengths(sentences, _entity_length, ENTITY_LENGTHS),
            matching.tally_lengths(sentences, lambda sentence, _: sentence.num_words, SENTENCE_LENGTHS),
            matching.tally(sentences, lambda sentence, _: sentence.split),
        )
        counts = {(place, name): group for place, family in enumerate(families) for name, group in family.items()}
        figures = bootstrap.estimate(counts, num_resamples, confidence, seed)
        measures, labels, entity_lengths, sentence_lengths, splits = (
            {name: figures[place, name] for name in family} for place, family in enumerate(families)
        )
        kinds = matching.count_kinds(sentences).sum(axis=0).astype(int).tolist()
        relations = RelationErrors.from_sentences(
            sentences, num_examples=num_examples, num_resamples=num_resamples, confidence=confidence, seed=seed
        )
        return cls(
            sentences=sentences,
            measures=measures,
            labels=labels,
            entity_lengths=entity_lengths,
            sentence_lengths=sentence_lengths,
            splits=splits,
            kinds=dict(zip(KINDS, kinds, strict=True)),
            confusion=matching.confusion_matrix(sentences, list(labels)),
            unreachable=unreachable,
            confidence=confidence,
            num_resamples=num_resamples,
            num_examples=num_examples,
            model_name=model_name,
            dataset_name=dataset_name,
            relations=relations,
        )

    @property
    def overall(self) -> Figures:
        """The strict figures of all entities."""
        return self.measures["strict"]

    def by_kind(self, kind: Kind) -> list[Example]:
        """List the outcomes of a kind.

        Args:
            kind: A key of `span_marker.error_analysis.matching.KINDS`.

        Returns:
            The outcomes, most frequent first; those with the same labels and texts are counted together.

        Raises:
            ValueError: If the kind is unknown.
        """
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} must be one of {list(KINDS)}")
        return list_examples(self.sentences, kind)

    def __str__(self) -> str:
        blocks = [[self._summary()]]
        for name, family in self._families():
            blocks.append([text_table([(name, *COLUMNS), *map(figures_row, family, family.values())])])
        blocks.append([text_table([OUTCOME_COLUMNS, *self._outcomes()])])
        names = [*self.labels, NOTHING]
        if len(self.labels) > MOST_LABELS:
            blocks.append(
                [f"confusions of {len(self.labels)} labels: see report.confusion, or report.write_html(path)"]
            )
        else:
            rows = ((name, *map(str, row)) for name, row in zip(names, self.confusion.tolist(), strict=True))
            blocks.append([text_table([("gold \\ predicted", *names), *rows])])
        blocks.append([*self._reach()])
        blocks += [
            [self._title(kind), *(f"{example.number:>6,}x  {example.as_line(CONTEXT)}" for example in examples)]
            for kind, examples in self._examples()
        ]
        if self.relations is not None:
            blocks.append([str(self.relations)])
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def write_html(self, path: str | os.PathLike[str], title: str = "Error analysis", *, examples: bool = True) -> None:
        """Write a page with an overview, all errors, ``num_examples`` of each kind unfolded, and the tables.

        Errors can be filtered by their kind and by their labels. Metrics have two to four decimals, depending on the
        width of their interval.

        Args:
            path: The HTML file; the page needs no other files.
            title: Title of the page.
            examples: Whether the page includes the errors, which contain texts of the data. Without them, as with
                ``num_examples=0``, it has only metrics and labels.
        """
        unreachable = {REASONS[reason]: number for reason, number in (self.unreachable or {}).items()}
        write_report(path, title, self, list(self._families()), [*self.labels, NOTHING], unreachable, examples)

    def _summary(self) -> str:
        num_gold, num_predicted = self.overall[:2]
        return (
            f"sentences: {len(self.sentences):,}; gold entities: {num_gold:,}; predictions: {num_predicted:,}; "
            f"{100 * self.confidence:.4g}% intervals from {self.num_resamples:,} resamples of the sentences"
        )

    def _families(self) -> Iterator[tuple[str, Mapping[str, Figures]]]:
        yield "measure", self.measures
        yield "label", self.labels
        yield "words of the entity", self.entity_lengths
        yield "words of the sentence", self.sentence_lengths
        if len(self.splits) > 1:
            yield "data set", self.splits

    def _outcomes(self) -> Iterator[tuple[str, str, str, str]]:
        num_gold, num_predicted = self.overall[:2]
        for kind, number in self.kinds.items():
            of_gold = f"{number / num_gold:.2%}" if number and kind != "spurious" else ""
            of_predicted = f"{number / num_predicted:.2%}" if number and kind != "missed" else ""
            yield kind, f"{number:,}", of_gold, of_predicted

    def _reach(self) -> Iterator[str]:
        if self.unreachable is None:
            return
        num_lost, num_gold = sum(self.unreachable.values()), self.overall.num_gold
        bound = f", so recall is at most {1 - num_lost / num_gold:.4f}" if num_lost else ""
        yield f"gold entities out of reach: {num_lost:,} of {num_gold:,}{bound}"
        for reason, number in self.unreachable.items():
            if number:
                yield f"{number:>6,}  {REASONS[reason]}"

    def _examples(self) -> Iterator[tuple[Kind, list[Example]]]:
        for kind, number in self.kinds.items():
            if number and kind != "correct" and self.num_examples:
                yield kind, self.by_kind(kind)[: self.num_examples]

    def _title(self, kind: Kind) -> str:
        return f"{kind}: {self.kinds[kind]:,} {KINDS[kind]}"


def _entity_length(sentence: JudgedSentence, span: LabelledSpan) -> int:
    return matching.num_words(sentence.item[span.start : span.end])
