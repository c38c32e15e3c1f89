"""The result of a cross-validation: out-of-fold predictions, and figures with intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import precision_recall_f1
from span_marker.core.spans import IntArray
from span_marker.core.tables import TextReport, text_table
from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import COLUMNS
from span_marker.error_analysis import bootstrap, matching
from span_marker.error_analysis.analyze import analyze_predictions
from span_marker.error_analysis.bootstrap import Estimate, Figures
from span_marker.error_analysis.report import ErrorReport

FloatArray = npt.NDArray[np.float64]
GoldRows = Sequence[tuple[Any, list[LabelledSpan]]]
"""The words or the text of each row, and its gold entities."""

ENTITIES = "entities"

MEASURES = ("precision", "recall", "f1", "macro_f1")


class FoldFigures(NamedTuple):
    """Strict figures of one fold.

    Attributes:
        num_sentences: Number of sentences of the fold.
        num_gold: Number of their gold entities.
        precision: Micro precision.
        recall: Micro recall.
        f1: Micro F1.
        macro_f1: Mean F1 of the labels that are annotated or predicted in the fold.
    """

    num_sentences: int
    num_gold: int
    precision: float
    recall: float
    f1: float
    macro_f1: float


@dataclass(frozen=True)
class CrossValidationReport(TextReport):
    """Figures and predictions of models on data that they were not trained on. ``print`` shows tables.

    Figures are strict, like those of `Trainer.evaluate`. Overall figures are computed from the pooled counts of all
    out-of-fold predictions, rather than as means over folds: F1 is not linear, so the mean over folds with few entities
    is biased (Forman and Scholz 2010).

    Intervals are 95% percentile intervals of the bootstrap over sentences, or over documents if the data has them,
    which are then drawn as wholes. They reflect the choice of the sentences that are measured. They do *not* reflect
    that other training data, or another seed, would have led to other models. `fold_deviations` shows how much folds
    differ for both reasons together, but no interval is derived from it: folds share most of their training data, so
    their variance has no unbiased estimate, and its usual estimate is too low (Bengio and Grandvalet 2004). With few
    documents, intervals are too narrow.

    All figures describe models trained on part of the data. A model trained on all of it is likely to be somewhat
    better.

    Attributes:
        overall: Micro figures of all entities.
        macro_f1: Mean F1 of the labels that are annotated or predicted.
        labels: Figures of each label.
        folds: Figures of each fold.
        rows: The out-of-fold predictions, in the order of the data: for each row a dict with its columns and, in the
            form of `SpanMarkerModel.predict`, the predicted ``entities``, and ``relations`` if models have any.
            ``write_jsonl`` and the other writers accept them.
        fold_of_row: The fold of each row, counted from 0.
        errors: The analysis of the errors in these predictions, see `span_marker.analyze_errors`. Its intervals are
            always over sentences. ``errors.relations`` contains the figures of relations, if models and data have any.
        num_documents: Number of documents; None if the data has none.
    """

    overall: Figures
    macro_f1: Estimate
    labels: Mapping[str, Figures]
    folds: Sequence[FoldFigures]
    rows: Sequence[dict[str, Any]] = field(repr=False)
    fold_of_row: Sequence[int] = field(repr=False)
    errors: ErrorReport = field(repr=False)
    num_documents: int | None

    @classmethod
    def from_predictions(
        cls,
        gold: GoldRows,
        rows: Sequence[dict[str, Any]],
        fold_of_row: Sequence[int],
        group_of_row: Sequence[int] | None = None,
        relations: Sequence[Any] | None = None,
        symmetric_relations: Collection[str] = (),
        *,
        seed: int = 0,
        dataset_name: str | None = None,
    ) -> CrossValidationReport:
        """Make a report.

        Args:
            gold: The gold rows.
            rows: The predictions of each row, see `rows`.
            fold_of_row: The fold of each row.
            group_of_row: The document of each row, counted from 0 without gaps; None to draw single sentences.
            relations: The gold relations of each row, in the form of the data; None to leave out relations.
            symmetric_relations: Labels of the relations whose head and tail can be exchanged.
            seed: Seed of the resamples.
            dataset_name: What to call the data.

        Returns:
            The report.
        """
        errors = analyze_predictions(
            _annotated(gold, relations),
            [{name: row[name] for name in (ENTITIES, RELATIONS) if name in row} for row in rows],
            seed=seed,
            dataset_name=dataset_name,
            symmetric_relations=symmetric_relations,
        )
        by_label = matching.tally(errors.sentences, lambda _, span: span.label)
        labels = sorted(by_label)
        counts = np.stack([by_label[label] for label in labels], axis=1)  # (num_sentences, num_labels, 3)
        groups = np.arange(len(rows)) if group_of_row is None else np.asarray(group_of_row)
        resampled = bootstrap.resample(_add_up(counts, groups), errors.num_resamples, seed)
        totals = counts.sum(axis=0)
        per_fold = _add_up(counts, np.asarray(fold_of_row))
        return cls(
            overall=bootstrap.pool(totals.sum(axis=0), resampled.sum(axis=1), errors.confidence),
            macro_f1=Estimate(
                *map(float, bootstrap.summarize(macro_f1(totals), macro_f1(resampled), errors.confidence))
            ),
            labels={
                label: bootstrap.pool(totals[place], resampled[:, place], errors.confidence)
                for place, label in enumerate(labels)
            },
            folds=list(map(_fold_figures, np.bincount(fold_of_row).tolist(), per_fold)),
            rows=rows,
            fold_of_row=fold_of_row,
            errors=errors,
            num_documents=None if group_of_row is None else int(groups.max()) + 1,
        )

    @property
    def predictions(self) -> list[list[Any]]:
        """The predicted entities of each row, for `span_marker.analyze_predictions`."""
        return [row["entities"] for row in self.rows]

    @property
    def fold_means(self) -> dict[str, float]:
        """Mean over the folds of ``precision``, ``recall``, ``f1`` and ``macro_f1``."""
        return {name: mean(getattr(fold, name) for fold in self.folds) for name in MEASURES}

    @property
    def fold_deviations(self) -> dict[str, float]:
        """Standard deviation of the same figures over the folds, which reflects training data and seeds."""
        return {name: stdev(getattr(fold, name) for fold in self.folds) for name in MEASURES}

    def __str__(self) -> str:
        num_sentences = f"{len(self.rows):,} sentences"
        units = num_sentences if self.num_documents is None else f"{self.num_documents:,} documents"
        summary = (
            f"{num_sentences} in {len(self.folds)} folds; {100 * self.errors.confidence:.4g}% intervals from "
            f"{self.errors.num_resamples:,} resamples of the {units}"
        )
        blocks = [summary, *map(text_table, (self._folds(), self._pooled(), self._labels()))]
        if self.errors.relations is not None:
            blocks += [self.errors.relations.summary(), *map(text_table, self.errors.relations.tables())]
        return "\n\n".join(blocks)

    def _folds(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("fold", "sentences", "gold", *MEASURES)]
        for number, fold in enumerate(self.folds):
            rows.append((str(number), *(f"{count:,}" for count in fold[:2]), *(f"{value:.4f}" for value in fold[2:])))
        for name, values in (("mean", self.fold_means), ("standard deviation", self.fold_deviations)):
            rows.append((name, "", "", *(f"{values[measure]:.4f}" for measure in MEASURES)))
        return rows

    def _pooled(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("all folds", "value", "standard error", "interval")]
        for name, figure in zip(MEASURES, (*self.overall[2:], self.macro_f1), strict=True):
            rows.append((name, f"{figure.value:.4f}", f"{figure.standard_error:.4f}", figure.interval))
        return rows

    def _labels(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("label", "gold", "predicted", *MEASURES[:3])]
        for label, figures in self.labels.items():
            intervals = (f"{figure.value:.4f} {figure.interval}" for figure in figures[2:])
            rows.append((label, f"{figures.num_gold:,}", f"{figures.num_predicted:,}", *intervals))
        return rows


def macro_f1(counts: FloatArray) -> FloatArray:
    """Compute the mean F1 of the labels that have a gold entity or a prediction.

    Args:
        counts: Number of correct predictions, predictions and gold entities of each label, ``(..., num_labels, 3)``.

    Returns:
        The means, ``(...)``; 0 where there is no such label.

    Example:
        >>> float(macro_f1(np.array([[1, 1, 1], [0, 1, 0], [0, 0, 0]])))
        0.5
    """
    num_labels = counts.any(axis=-1).sum(axis=-1)
    return precision_recall_f1(counts)[..., 2].sum(axis=-1) / np.maximum(num_labels, 1)


def _annotated(gold: GoldRows, relations: Sequence[Any] | None) -> Dataset:
    """Gold rows as a data set with entities, and with relations if these are known."""
    column = COLUMNS["text" if isinstance(gold[0][0], str) else "words"]
    rows = [{column: item, ENTITIES: [span._asdict() for span in entities]} for item, entities in gold]
    if relations is not None:
        rows = [{**row, RELATIONS: of_row} for row, of_row in zip(rows, relations, strict=True)]
    return Dataset.from_list(rows)


def _add_up(counts: FloatArray, groups: IntArray) -> FloatArray:
    """Add up the counts of sentences, ``(num_sentences, ...)``, by group, ``(num_groups, ...)``."""
    sums = np.zeros((int(groups.max()) + 1, *counts.shape[1:]))
    np.add.at(sums, groups, counts)
    return sums


def _fold_figures(num_sentences: int, counts: FloatArray) -> FoldFigures:
    """Figures of a fold with these counts, ``(num_labels, 3)``."""
    totals = counts.sum(axis=0)
    precision, recall, f1 = precision_recall_f1(totals).tolist()
    return FoldFigures(num_sentences, int(totals[2]), precision, recall, f1, float(macro_f1(counts)))
