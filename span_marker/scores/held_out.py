"""Held-out data: annotated data that a model was not trained on, for predictions without rules and for thresholds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from span_marker.core.alignment import trim_entities
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.data.columns import require_dataset, whole_rows
from span_marker.data.in_memory import AnnotatedData
from span_marker.data.relation_labels import rows_with_relations
from span_marker.data.rows import Row, check_entity
from span_marker.modeling import SpanMarkerModel
from span_marker.prediction.options import make_predictor
from span_marker.prediction.predictor import predict
from span_marker.preprocessing.inputs import Sentences, read_inputs
from span_marker.scores.cross_fitting import cross_fit
from span_marker.scores.thresholds import PSEUDO_GOLD, ThresholdReport

logger = logging.getLogger(__name__)

HELD_OUT = "held-out"
"""What the data is called in messages."""

SUBJECTS = {"entities": "Thresholds", "relations": "Thresholds of relations"}
"""What thresholds are called in messages and on cards."""


@dataclass(frozen=True)
class HeldOut:
    """Annotated data, and the model that predicts it.

    Attributes:
        model: The model.
        rows: The rows.
        with_relations: The rows whose relations are annotated, including those with an empty list.
        sentences: The words or texts of the rows, and their documents.
        batch_size: The maximum number of sentences per batch.
    """

    model: SpanMarkerModel
    rows: list[Row]
    with_relations: list[int]
    sentences: Sentences
    batch_size: int

    @classmethod
    def read(cls, model: SpanMarkerModel, data: AnnotatedData, batch_size: int) -> HeldOut:
        """Read annotated data.

        Args:
            model: The model.
            data: The data.
            batch_size: The maximum number of sentences per batch.

        Returns:
            The data.

        Raises:
            TypeError: If ``data`` is not a `Dataset`, or a row has a value of the wrong type.
            ValueError: If a row is invalid, or the model lacks a label.
        """
        dataset = require_dataset(data, HELD_OUT)
        rows = list(whole_rows(dataset, HELD_OUT, model.config.tags, model.config.classes))
        return cls(model, rows, sorted(rows_with_relations(dataset)), read_inputs(dataset)[0], batch_size)

    @property
    def groups(self) -> list[list[int]]:
        """The rows of each document, which are context of each other; each row by itself if there are no documents."""
        return self.sentences.documents() or [[row] for row in range(len(self.rows))]

    def predict(self, rows: Sequence[int], **options: Any) -> list[Any]:
        """Predict rows without the model's rules, which do not depend on its scores.

        Args:
            rows: The rows; with document context, those of whole documents.
            **options: Options of ``predict``.

        Returns:
            The result of ``predict`` for each row.
        """
        reader = replace(make_predictor(self.model, self.batch_size, **options), rules=None)
        return predict(self.sentences.take(list(rows)), reader, show_progress_bar=False)[0]

    def tune(self, precision: float | None) -> ThresholdReport:
        """Choose the threshold of each entity label. The model is not changed.

        Args:
            precision: The precision that each label must reach; None for the best F1.

        Returns:
            The thresholds and their figures.

        Raises:
            ValueError: If the data has no entities, or ``precision`` is not above 0 and at most 1.
        """
        gold = [set(trim_entities(row.spans, row.content)) for row in self.rows]
        if not any(gold):
            raise ValueError(f"there are no entities in the {HELD_OUT} data, so there is nothing to tune thresholds on")

        def predict_entities(rows: Sequence[int], threshold: Any) -> Iterable[dict[LabelledSpan, float]]:
            for row, entities in zip(rows, self.predict(rows, threshold=threshold, relations=False), strict=True):
                scores: dict[LabelledSpan, float] = {}
                for span, score in trimmed(entities, self.rows[row]):
                    scores[span] = max(score, scores.get(span, 0.0))
                yield scores

        labels = [label for label in self.model.config.classes if label != OUTSIDE]
        return cross_fit(labels, gold, predict_entities, self.groups, precision)

    def keep(self, report: ThresholdReport, only_if_better: bool) -> None:
        """Set the thresholds of the model, with warnings of what is uncertain about them, or remove them.

        Args:
            report: The thresholds and their figures.
            only_if_better: Whether the model gets none if they may not help.
        """
        config, subject = self.model.config, SUBJECTS[report.kind]
        num_sentences = len(self.rows if report.kind == "entities" else self.with_relations)
        if only_if_better and not report.is_better:
            if getattr(config, report.setting) is not None:
                reason = f"it is not certain that those tuned on {num_sentences:,} held-out sentences help"
                self.model.note_change(subject, f"None: {reason}.")
            setattr(config, report.setting, None)
            return
        if report.few:
            logger.warning(
                "Labels with fewer than %d gold %s in the held-out data: %s. Their thresholds rest mostly on other "
                "labels, and their figures are uncertain: annotate more of them.",
                PSEUDO_GOLD,
                report.kind,
                ", ".join(f"{label} ({number})" for label, number in report.few.items()),
            )
        if report.problem:
            logger.warning("%s: %s.", subject, report.problem)
        setattr(config, report.setting, report.thresholds)
        self.model.note_change(subject, _describe(report, num_sentences))


def trimmed(entities: Sequence[Mapping[str, Any]], row: Row) -> list[tuple[LabelledSpan, float]]:
    """Read predicted entities, without the characters at their edges that do not count.

    Args:
        entities: The entities that ``predict`` found in a row.
        row: The row.

    Returns:
        The entities in the same order, with their scores.
    """
    found = []
    for entity in entities:
        label, start, end, score = check_entity(entity, len(row.content), row.unit, "a prediction")
        [span] = trim_entities([LabelledSpan(label, start, end)], row.content)
        found.append((span, score or 0.0))
    return found


def _describe(report: ThresholdReport, num_sentences: int) -> str:
    """The figures of a report, for the model card."""
    goal = "the best F1" if report.requested_precision is None else f"a precision of {report.requested_precision:g}"
    parts = {"without thresholds": report.before, "with them": report.after, "expected on new text": report.expected}
    figures = "; ".join(
        f"{name} {', '.join(f'{value:.4f}' for value in scores)}"
        for name, scores in parts.items()
        if scores is not None
    )
    return (
        f"Tuned for {goal} on {num_sentences:,} held-out sentences with {sum(report.num_gold.values()):,} "
        f"{report.kind}. Precision, recall and F1 on these: {figures}."
    )
