"""The progress of training: whether anything is predicted at all, and what to change if not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from span_marker.scores.thresholds import ThresholdReport

MIN_EVALUATIONS = 2
"""Number of evaluations without a correct prediction before this is reported."""

MIN_PREDICTED = 0.1
"""Number of predicted entities per gold entity below which a trained model counts as predicting hardly anything."""


class Outcome(NamedTuple):
    """One evaluation of a model.

    Attributes:
        num_correct: Number of predicted entities that are gold entities.
        num_predicted: Number of predicted entities.
        num_gold: Number of gold entities.
        best_f1: Best F1 at any threshold.
        best_threshold: Threshold with this F1.
        loss: Evaluation loss.
        step: Number of training steps before.
    """

    num_correct: int
    num_predicted: int
    num_gold: int
    best_f1: float
    best_threshold: float
    loss: float = 0.0
    step: int = 0


class Progress:
    """The evaluations of a training run, of the first one of several evaluation sets. Gives each advice only once."""

    def __init__(self) -> None:
        self._outcomes: dict[str, list[Outcome]] = {}
        self._has_advised_during = False
        self._has_judged_end = False

    def add(self, name: str, outcome: Outcome) -> None:
        """Add an evaluation.

        Args:
            name: Prefix of the names of its metrics.
            outcome: The evaluation.
        """
        self._outcomes.setdefault(name, []).append(outcome)

    def add_tuning(self, report: ThresholdReport, step: int) -> None:
        """Use the figures without thresholds as an evaluation, if there was none.

        Args:
            report: The result of tuning thresholds on the evaluation data.
            step: Number of training steps before.
        """
        num_gold = sum(report.num_gold.values())
        if not self._outcomes:
            num_correct = round(report.before.recall * num_gold)
            self.add("eval", Outcome(num_correct, report.num_predicted, num_gold, 0.0, 0.0, step=step))

    def advice_during(self, losses: Sequence[float], metric: str | None) -> str | None:
        """Give advice during training if the model is learning, but predicts nothing yet.

        Args:
            losses: The training losses so far.
            metric: Name of the metric that checkpoints are compared by, or None.

        Returns:
            See the function `advice_during`; None after the first advice.
        """
        if self._has_advised_during:
            return None
        advice = advice_during(self._first, losses, metric)
        self._has_advised_during = advice is not None
        return advice

    def advice_after(self, best_step: int | None, learning_rate: float) -> str | None:
        """Give advice after training, and after later evaluations, if the model predicts hardly anything.

        Args:
            best_step: The step whose weights were restored, or None for the last one.
            learning_rate: The learning rate of the training.

        Returns:
            See the function `advice_after`, for the evaluation of these weights; None after the first evaluation that
            was judged.
        """
        if self._has_judged_end or not self._first:
            return None
        self._has_judged_end = True
        final = next((outcome for outcome in self._first if outcome.step == best_step), self._first[-1])
        return advice_after(final, learning_rate)

    @property
    def _first(self) -> list[Outcome]:
        return next(iter(self._outcomes.values()), [])


def advice_during(outcomes: Sequence[Outcome], losses: Sequence[float], metric: str | None) -> str | None:
    """Give advice if a model is learning, but predicts nothing yet.

    Args:
        outcomes: The evaluations so far.
        losses: The training losses so far.
        metric: Name of the metric that checkpoints are compared by, or None.

    Returns:
        What to change, if there are at least `MIN_EVALUATIONS`, none has a correct prediction, and the evaluation loss
        or the training loss falls. None otherwise.
    """
    if len(outcomes) < MIN_EVALUATIONS or any(outcome.num_correct for outcome in outcomes):
        return None
    for name, values in (("evaluation", [outcome.loss for outcome in outcomes]), ("training", losses)):
        if len(values) > 1 and values[-1] < values[0]:
            advice = (
                f"No entity has been predicted correctly in {len(outcomes)} evaluations, but the {name} loss falls "
                f"from {values[0]:.4g} to {values[-1]:.4g}{_at_best(outcomes[-1])}. Train longer (num_train_epochs) or "
                "with a higher learning_rate."
            )
            if metric is not None and metric.endswith("overall_f1"):
                advice += (
                    f" metric_for_best_model={metric!r} rates all these checkpoints equally: use 'overall_best_f1'."
                )
            return advice
    return None


def advice_after(final: Outcome, learning_rate: float) -> str | None:
    """Give advice if a trained model predicts hardly anything.

    Args:
        final: The final evaluation.
        learning_rate: The learning rate of the training.

    Returns:
        What to change, if fewer than `MIN_PREDICTED` entities per gold entity are predicted. None otherwise.
    """
    if final.num_predicted >= MIN_PREDICTED * final.num_gold:
        return None
    return (
        f"After {final.step:,} training steps, the model predicts {final.num_predicted:,} entities in evaluation data "
        f"that have {final.num_gold:,}{_at_best(final)}. Train longer (num_train_epochs) or with a higher learning "
        f"rate than learning_rate={learning_rate:g}; or pass a lower threshold to predict."
    )


def _at_best(outcome: Outcome) -> str:
    if not outcome.best_f1:
        return ""
    return f", and threshold={outcome.best_threshold:.4g} would give an F1 of {outcome.best_f1:.3f}"
