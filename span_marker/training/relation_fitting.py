"""Fitting a relation head to a trained entity model, which does not change."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup

from span_marker.core.checks import check_limit
from span_marker.data.columns import require_dataset
from span_marker.data.in_memory import AnnotatedData
from span_marker.data.relation_labels import infer_relation_labels
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.data_collator import MODEL_INPUTS, PAIR_INPUTS
from span_marker.preprocessing.features import prepare
from span_marker.scores.held_out import HELD_OUT, SUBJECTS, HeldOut
from span_marker.scores.relation_tuning import HeldOutRelations
from span_marker.training.final_choices import choose_pair_filter, log_thresholds, reset_thresholds

logger = logging.getLogger(__name__)

DATA = "relation"
"""What the data is called in messages."""

LEARNING_RATE = 1e-3

WARM_UP = 0.1
"""Share of the steps over which the learning rate is warmed up."""


def fit_relations(
    model: SpanMarkerModel,
    data: AnnotatedData,
    num_epochs: int = 10,
    batch_size: int = 16,
    seed: int = 0,
    held_out: AnnotatedData | None = None,
) -> list[float]:
    """Train only the relation head of a model. The entities that the model predicts do not change.

    The markers of pairs and the classifier of relations learn from annotated relations; the encoder is frozen. With
    `Trainer`, everything is trained jointly, so that the encoder learns from relations, too. ``symmetric_relations``
    and ``relation_types`` are set from the data if the model's configuration leaves them open.

    Args:
        model: A trained model. If it has no relations, it gets those of the data; otherwise, the training of its
            relation head continues.
        data: Annotated data with ``entities`` and ``relations``.
        num_epochs: Number of passes over the data.
        batch_size: Number of sentences or windows in a batch.
        seed: Seed of new weights, of the order of the rows, and of dropout.
        held_out: Annotated data that is not trained on. At the end, thresholds of relations are tuned on it, as
            `span_marker.tune_thresholds` does with ``only_if_better``, and a pair filter is fitted, see
            `span_marker.fit_pair_filter`. With None, there are neither. Existing thresholds of relations are always
            reset, and an existing pair filter is dropped.

    Returns:
        The mean loss of a pair in each epoch.

    Raises:
        TypeError: If ``model`` is not a `SpanMarkerModel`, or a value in a row has the wrong type.
        ValueError: If ``data`` or ``held_out`` has no relations, or one whose label the model lacks; if no relation in
            ``data`` can be learned; if the model runs on the dense engine or on exported graphs; or if a number is
            below 1. After any error, the model is unchanged.
    """
    model = without_adapter(model)
    model.check_relations_possible()
    check_limit("num_epochs", num_epochs, at_least=1)
    check_limit("batch_size", batch_size, at_least=1)
    dataset = require_dataset(data, DATA)
    labels = infer_relation_labels({DATA: dataset})  # refuses data without relations
    if held_out is not None:
        infer_relation_labels({HELD_OUT: require_dataset(held_out, HELD_OUT)})
    device = model.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _unchanged_on_error(model):
        torch.manual_seed(seed)
        if model.relation_head is None:
            model.add_relations(labels)
        features, summary = prepare(dataset, model.preprocessor, DATA)
        relations = summary.relations
        if not relations.statistics.types:
            raise ValueError(
                f"none of the {relations.num_relations} relations of the {DATA} data can be learned: "
                f"{relations.lost(model.config)}"
            )
        relations.settle(model.config, DATA)
        relations.warn(model.config, DATA)
        model.reset_pair_filter()
        # The symmetric relations are determined by now.
        to_tune = None if held_out is None else HeldOutRelations.read(HeldOut.read(model, held_out, batch_size))
        had_thresholds = model.config.relation_thresholds is not None
        reset_thresholds(model.config, ["relation_thresholds"], "With held_out=, new ones are chosen at the end.")
        is_learned = {parameter: parameter.requires_grad for parameter in model.parameters()}
        is_training = model.training
        try:
            model.requires_grad_(False)
            losses = _fit(model, features, num_epochs, batch_size)
        finally:
            for parameter, value in is_learned.items():
                parameter.requires_grad_(value)
            model.train(is_training)
        names = ", ".join((model.config.relation_labels or [])[1:])
        num_rows = relations.num_rows - relations.num_unannotated
        model.note_change("Relations", f"{names}: fitted to {num_rows:,} rows, with everything else frozen.")
        if had_thresholds:
            model.note_change(SUBJECTS["relations"], "None: they were reset when the relations were fitted.")
        if to_tune is not None:
            report = to_tune.tune(precision=None)
            to_tune.held_out.keep(report, only_if_better=True)
            log_thresholds(report, HELD_OUT)
        choose_pair_filter(
            model, dataset, None if held_out is None else require_dataset(held_out, HELD_OUT), batch_size
        )
    return losses


@contextmanager
def _unchanged_on_error(model: SpanMarkerModel) -> Iterator[None]:
    """Restore the relation head and the settings of a model if a ``with`` block fails."""
    head = copy.deepcopy(model.relation_head)
    settings = {
        name: copy.deepcopy(value)
        for name, value in vars(model.config).items()
        if "relation" in name or name == "pair_filter"
    }
    names = ("card_text", "card_changes", "training_record")
    card = {name: copy.deepcopy(getattr(model, name)) for name in names}
    try:
        yield
    except BaseException:  # an interruption, too, must not leave a model that finds relations at random
        model.relation_head = head
        for name, value in settings.items():
            setattr(model.config, name, value)
        for name, value in card.items():
            setattr(model, name, value)
        raise


@torch.inference_mode(False)
@torch.enable_grad()
def _fit(model: SpanMarkerModel, features: Dataset, num_epochs: int, batch_size: int) -> list[float]:
    """Train the relation head; return the mean loss of a pair in each epoch."""
    head: Any = model.relation_head
    head.requires_grad_(True)
    model.train()
    model.encoder.eval()  # what is not trained needs no dropout
    rows: Any = features
    loader = DataLoader(rows, batch_size, shuffle=True, collate_fn=model.preprocessor.collator)
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE)
    num_steps = num_epochs * len(loader)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(WARM_UP * num_steps), num_steps)
    losses = []
    for epoch in range(num_epochs):
        total, num_pairs = 0.0, 0
        for batch in loader:
            if len(batch["pair_labels"]) == 0:
                continue
            inputs = {name: batch[name].to(model.device) for name in (*MODEL_INPUTS, *PAIR_INPUTS)}
            output = model(**inputs)
            optimizer.zero_grad()
            output.relation_loss.backward()
            optimizer.step()
            schedule.step()
            count = len(output.relation_logits)
            total, num_pairs = total + count * float(output.relation_loss.detach()), num_pairs + count
        losses.append(total / max(num_pairs, 1))
        logger.info("Relations, epoch %d of %d: loss %.4f per pair.", epoch + 1, num_epochs, losses[-1])
    return losses
