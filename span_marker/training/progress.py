"""What evaluations say about a training: whether anything is predicted at all, and what to change if not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MIN_EVALUATIONS = 2
"""Number of evaluations without a correct prediction before this is reported."""

MIN_PREDICTED = 0.1
"""Number of predicted entities per gold entity below which a trained model predicts too little."""


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


def advice_during(outcomes: Sequence[Outcome], losses: Sequence[float]) -> str | None:
    """Say that a model learns, if its evaluations do not show it.

    Args:
        outcomes: The evaluations so far.
        losses: The training losses so far.

    Returns:
        What to change, if no evaluation has a correct prediction, there are at least `MIN_EVALUATIONS`, and the
        evaluation loss or the training loss falls. None otherwise.
    """
    if len(outcomes) < MIN_EVALUATIONS or any(outcome.num_correct for outcome in outcomes):
        return None
    for name, values in (("evaluation", [outcome.loss for outcome in outcomes]), ("training", losses)):
        if len(values) > 1 and values[-1] < values[0]:
            return (
                f"No entity has been predicted correctly in {len(outcomes)} evaluations, but the {name} loss falls from "
                f"{values[0]:.4g} to {values[-1]:.4g}{_at_best(outcomes[-1])}: the model learns, but has not been "
                "trained enough to decide for entities. Train longer (num_train_epochs), or with a higher "
                'learning_rate. Until then, choose checkpoints by metric_for_best_model="overall_best_f1".'
            )
    return None


def advice_after(outcome: Outcome, length: str, learning_rate: float) -> str | None:
    """Say that a trained model predicts hardly anything.

    Args:
        outcome: The final evaluation.
        length: The training argument that sets the length of the training, with its value.
        learning_rate: The learning rate of the training.

    Returns:
        What to change, if fewer than `MIN_PREDICTED` entities per gold entity are predicted. None otherwise.
    """
    if outcome.num_predicted >= MIN_PREDICTED * outcome.num_gold:
        return None
    return (
        f"The trained model predicts {outcome.num_predicted:,} entities in evaluation data that have "
        f"{outcome.num_gold:,}{_at_best(outcome)}. Train longer than {length}, or with a higher learning rate than "
        f"learning_rate={learning_rate:g}; or pass a lower threshold to predict."
    )


def _at_best(outcome: Outcome) -> str:
    if not outcome.best_f1:
        return ""
    return f", and the threshold {outcome.best_threshold:.2g} would give an F1 of {outcome.best_f1:.3f}"
