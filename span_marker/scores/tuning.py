"""Fitting a trained model's probabilities to held-out data: calibration, and thresholds of labels."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from span_marker.core.alignment import trim_entities
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.core.settings import NO_THRESHOLDS
from span_marker.data.columns import read_rows, require_dataset
from span_marker.data.in_memory import AnnotatedData
from span_marker.data.rows import Unit, check_entity
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.features import prepare
from span_marker.preprocessing.inputs import read_inputs
from span_marker.scores.calibration import CalibrationReport, calibration_report, decisions
from span_marker.scores.temperature import (
    MAX_FACTOR,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    ScoredCandidates,
    decisions_needed,
    fit_temperature,
    proposed_entities,
    temperature_error,
    temperature_interval,
)
from span_marker.scores.thresholds import (
    PSEUDO_GOLD,
    OperatingPoint,
    Proposals,
    ThresholdReport,
    choose_thresholds,
)

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

HELD_OUT = "held-out"
"""What the data is called in messages."""

FLOOR = 0.05
"""The least probability of the predictions that thresholds are tuned on: no threshold is lower."""

NUM_FOLDS = 5
"""Number of parts of the data that tell what to expect on new text."""


def calibrate(
    model: SpanMarkerModel, data: AnnotatedData, test_data: AnnotatedData | None = None, batch_size: int = 32
) -> CalibrationReport:
    """Fit the temperature of a model to held-out data, so that its scores say how often it is right.

    It is fitted to the candidates that the model proposes as entities, since only their scores are returned. It is
    stored in the configuration as ``calibration_temperature``. Thresholds are reset, since they no longer match the
    scores. Predictions change only where entities overlap.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.data.columns`.
        test_data: Separate annotated data to report on. Defaults to ``data``, which makes the calibrated error look
            slightly better than it is.
        batch_size: The largest number of sentences per batch.

    Returns:
        The temperature with its 95% interval, and the calibration error before and after.

    Raises:
        TypeError: If ``model`` is not a model, the data is not a `Dataset`, or a row has a value of the wrong type.
        ValueError: If a row is wrong; if the model proposes nothing, nothing wrong, or nothing right; or too few
            entities to know the temperature to a factor of `MAX_FACTOR`, with 95% confidence. The model does not
            change.
    """
    model = without_adapter(model)
    candidates = score_candidates(model, data, batch_size)
    entities = proposed_entities(candidates)
    _, is_right, is_entity = decisions(entities)
    num_right = int(is_right[is_entity].sum())
    if num_right in (0, is_entity.sum()):
        raise ValueError(
            f"{num_right} of the {is_entity.sum()} entities that the model proposes in the held-out data are "
            "right, but a temperature is fitted to right and wrong ones: pass more sentences"
        )
    temperature = fit_temperature(entities)
    error = temperature_error(entities, temperature)
    _check_error(temperature, error, int(is_entity.sum()))
    if test_data is not None:
        candidates = score_candidates(model, test_data, batch_size)
    report = calibration_report(candidates, temperature, temperature_interval(temperature, error))
    if model.config.thresholds is not None:
        logger.warning("The thresholds no longer match the scores and are reset: tune them again.")
        model.note_change("Thresholds", "None: they were reset when the scores were calibrated.")
    model.note_change(
        "Calibration",
        f"Scores are divided by {temperature:.4g}. On {report.num_entities:,} held-out entities that the model "
        f"proposes, the calibration error is {report.before.ece:.4f} without and {report.after.ece:.4f} with it. "
        "Predictions change only where entities overlap.",
    )
    model.config.thresholds, model.config.calibration_temperature = None, temperature
    return report


def _check_error(temperature: float, error: float, num_decisions: int) -> None:
    proposed = f"the model proposes {num_decisions} entities in the held-out data"
    if temperature in (MIN_TEMPERATURE, MAX_TEMPERATURE) or math.isinf(error):
        raise ValueError(
            f"{proposed}, but no temperature from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g} fits their scores: pass "
            "more sentences, or train the model longer"
        )
    needed = decisions_needed(num_decisions, error)
    if num_decisions < needed:
        low, high = temperature_interval(temperature, error)
        raise ValueError(
            f"{proposed}, but about {needed} are needed to know the temperature to a factor of {MAX_FACTOR:g}. It lies "
            f"between {low:.3g} and {high:.3g}: pass {math.ceil(needed / num_decisions)} times as much held-out text"
        )


def score_candidates(model: SpanMarkerModel, data: AnnotatedData, batch_size: int = 32) -> ScoredCandidates:
    """Score the candidates of annotated data: all of them, or those that the candidate filter of the model keeps.

    Args:
        model: A trained model.
        data: Annotated data.
        batch_size: The largest number of sentences per batch.

    Returns:
        Class scores and labels.
    """
    config, preprocessor = model.config, model.preprocessor
    prepared, _ = prepare(data, preprocessor, HELD_OUT)
    logits, labels = [], []
    for _, batch, (scores, kept) in run_in_batches(model.score, prepared, preprocessor.collator, batch_size):
        logits.append(scores.float().cpu())
        labels.append(batch["labels"] if kept is None else batch["labels"][kept.cpu().numpy()])
    gold = torch.from_numpy(np.concatenate(labels))
    return ScoredCandidates(torch.cat(logits), gold, config.outside_id, config.multi_label)


def tune_thresholds(
    model: SpanMarkerModel,
    data: AnnotatedData,
    precision: float | None = None,
    batch_size: int = 32,
    only_if_better: bool = False,
) -> ThresholdReport:
    """Tune the threshold of each label on held-out data, for the best overall F1 or for a required precision.

    The thresholds are stored in the configuration of the model, and saved with it. Labels with few gold entities get
    thresholds near the best common one, see `span_marker.scores.thresholds.choose_thresholds`; a warning lists them.

    What to expect on new text is estimated by cross-fitting: the data is split into `NUM_FOLDS` parts at random, with
    the sentences of a document in the same part, and each part is predicted with thresholds tuned on the other parts.

    Args:
        model: A trained model.
        data: Annotated data that the model was not trained on, see `span_marker.data.columns`.
        precision: The precision that each label must reach, with the highest possible recall; None for the best F1.
        batch_size: The largest number of sentences per batch.
        only_if_better: Whether the model gets no thresholds if they may not help: if the 95% interval of the change of
            the overall F1 on new text reaches below 0. `Trainer` asks for this at the end of a training.

    Returns:
        The threshold of each label; precision, recall and F1 of each label and overall without and with the thresholds;
        and those to expect on new text. A label that cannot reach the precision gets the threshold with the best one
        that it can reach, and is marked.

    Raises:
        TypeError: If ``model`` is not a model, ``data`` is not a `Dataset`, or a row has a value of the wrong type.
        ValueError: If ``precision`` is not above 0 and at most 1, a row is wrong, the data has no entity, or the model
            does not have a label. The model does not change.
    """
    held_out = _HeldOut.read(without_adapter(model), data, batch_size)
    everything = np.arange(len(held_out.items))
    before, proposed = held_out.count(everything, NO_THRESHOLDS), held_out.propose()

    def tune(is_used: npt.NDArray[np.bool_]) -> dict[str, OperatingPoint]:
        num_gold = before[is_used, :, 2].sum(axis=0).astype(int).tolist()
        proposals = {}
        for number, (label, (rows, scores, is_right)) in zip(num_gold, proposed.items(), strict=True):
            proposals[label] = Proposals(scores[is_used[rows]], is_right[is_used[rows]], number)
        return choose_thresholds(proposals, precision, FLOOR)

    points = tune(everything >= 0)
    after = held_out.count(everything, _thresholds(points))
    expected, folds = np.zeros_like(before), held_out.folds()
    if len(folds) > 1:
        for fold in folds:
            expected[fold] = held_out.count(fold, _thresholds(tune(~np.isin(everything, fold))))
    report = ThresholdReport.from_counts(points, before, after, expected if len(folds) > 1 else None, precision)
    if only_if_better and not report.is_better:
        held_out.model.config.thresholds = None
        return report
    _warn(report)
    held_out.model.config.thresholds = report.thresholds
    held_out.model.note_change("Thresholds", _describe(report, len(everything)))
    return report


@dataclass(frozen=True)
class _HeldOut:
    """Annotated data, and the model that predicts it.

    Attributes:
        model: The model.
        dataset: The data.
        items: The words or the text of each row.
        gold: The gold entities of each row.
        batch_size: The largest number of sentences per batch.
    """

    model: SpanMarkerModel
    dataset: Dataset
    items: list[Any]
    gold: list[set[LabelledSpan]]
    batch_size: int

    @classmethod
    def read(cls, model: SpanMarkerModel, data: AnnotatedData, batch_size: int) -> _HeldOut:
        dataset = require_dataset(data, HELD_OUT)
        rows = list(read_rows(dataset, HELD_OUT, model.config.tags, model.config.classes))
        gold = [set(trim_entities(spans, item)) for item, spans in rows]
        if not any(gold):
            raise ValueError("there is no entity in the held-out data: there is nothing to tune thresholds on")
        return cls(model, dataset, [item for item, _ in rows], gold, batch_size)

    @property
    def labels(self) -> list[str]:
        return [label for label in self.model.config.classes if label != OUTSIDE]

    def predict(self, rows: Iterable[int], threshold: Any) -> Iterator[tuple[int, dict[LabelledSpan, float]]]:
        """Rows with their predictions, each with its score."""
        rows = list(rows)
        dataset = self.dataset.select(rows)
        predictions = self.model.predict(dataset, batch_size=self.batch_size, threshold=threshold, relations=False)
        for row, entities in zip(rows, predictions, strict=True):
            yield row, _trim_predictions(entities, self.items[row])

    def count(self, rows: Iterable[int], threshold: Any) -> npt.NDArray[np.float64]:
        """Number of right predictions, predictions and gold entities of each row and label, ``(rows, labels, 3)``."""
        counts = []
        for row, predicted in self.predict(rows, threshold):
            gold = self.gold[row]
            numbers = [Counter(span.label for span in spans) for spans in (gold & predicted.keys(), predicted, gold)]
            counts.append([[number[label] for number in numbers] for label in self.labels])
        return np.array(counts, dtype=np.float64)

    def propose(self) -> dict[str, tuple[npt.NDArray[Any], ...]]:
        """Row and score of each proposal of a label, and whether it is right, ``(num_proposed,)`` each."""
        proposed: dict[str, list[tuple[int, float, bool]]] = {label: [] for label in self.labels}
        for row, predicted in self.predict(range(len(self.items)), FLOOR):
            for span, score in predicted.items():
                proposed[span.label].append((row, score, span in self.gold[row]))
        dtypes = (int, np.float32, bool)
        return {
            label: tuple(np.array([entry[place] for entry in entries], dtype) for place, dtype in enumerate(dtypes))
            for label, entries in proposed.items()
        }

    def folds(self) -> list[list[int]]:
        """Rows of each part of the data. Documents are not split, since their sentences are context of each other."""
        sentences, _ = read_inputs(self.dataset)
        groups = sentences.documents() or [[row] for row in range(len(self.items))]
        order = np.random.default_rng(0).permutation(len(groups))
        parts = (order[start::NUM_FOLDS] for start in range(min(NUM_FOLDS, len(groups))))
        return [[row for group in part for row in groups[group]] for part in parts]


def _thresholds(points: Mapping[str, OperatingPoint]) -> dict[str, float]:
    return {label: point.threshold for label, point in points.items()}


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
        f"Tuned for {goal} on {num_sentences:,} held-out sentences with {sum(report.num_gold.values()):,} entities. "
        f"Precision, recall and F1 on these: {figures}."
    )


def _warn(report: ThresholdReport) -> None:
    if report.few:
        logger.warning(
            "Labels with fewer than %d gold entities in the held-out data: %s. Their thresholds rest mostly on other "
            "labels, and their figures are uncertain: annotate more of them.",
            PSEUDO_GOLD,
            ", ".join(f"{label} ({number})" for label, number in report.few.items()),
        )
    if report.problem:
        logger.warning("Tuned thresholds: %s.", report.problem)


def _trim_predictions(entities: Sequence[Mapping[str, Any]], item: Any) -> dict[LabelledSpan, float]:
    """The different entities of a sentence after trimming, each with its highest score."""
    scores: dict[LabelledSpan, float] = {}
    unit: Unit = "characters" if isinstance(item, str) else "words"
    for entity in entities:
        label, start, end, score = check_entity(entity, len(item), unit, "a prediction")
        [span] = trim_entities([LabelledSpan(label, start, end)], item)
        scores[span] = max(score or 0.0, scores.get(span, 0.0))
    return scores
