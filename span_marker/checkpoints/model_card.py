"""Model cards: what a model is, what it was trained on and how well it does, for people and for the Hub."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import tokenizers
import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from span_marker.checkpoints.training_record import Evaluation, TrainingRecord
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.labels import OUTSIDE
from span_marker.core.tables import markdown_table
from span_marker.version import __version__

LIBRARY_NAME = "span-marker"
PIPELINE_TAG = "token-classification"
"""Task of the Hub under which the model is found, and whose widget shows it."""

TAGS = (LIBRARY_NAME, PIPELINE_TAG, "ner", "named-entity-recognition")
TRAINER_TAG = "generated_from_span_marker_trainer"
METRICS = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
TEMPLATE = Path(__file__).with_name("model_card_template.md")
NO_ID = "span_marker_model_id"
"""Stands for the model's name in examples until it has one."""

DEFAULT_EXAMPLE = "Amelia Earhart flew her single engine Lockheed Vega 5B across the Atlantic to Paris."


@dataclass
class SpanMarkerModelCardData:
    """What only the user knows about a model, for its card. Nothing is looked up anywhere.

    Args:
        language: Language of the text, such as ``"en"``, or several.
        license: Licence of the model, such as ``"apache-2.0"``.
        model_name: Title of the card; by default made of the names of encoder and data.
        model_id: Name of the model's repository on the Hub, such as ``"user/name"``; ``push_to_hub`` knows it.
        encoder_name: What to call the encoder; by default its ID.
        encoder_id: Name of its repository on the Hub; by default what it was loaded by, unless that was a folder.
        dataset_name: What to call the training data; by default their ID.
        dataset_id: Name of their repository on the Hub; by default what they were loaded by, if it was the Hub.
        dataset_revision: The commit of the data that was trained on.
        tags: More tags for the Hub.
        examples: Whether the card may show texts and entities of the data. Switch it off if they are private.
    """

    language: str | list[str] | None = None
    license: str | None = None
    model_name: str | None = None
    model_id: str | None = None
    encoder_name: str | None = None
    encoder_id: str | None = None
    dataset_name: str | None = None
    dataset_id: str | None = None
    dataset_revision: str | None = None
    tags: list[str] = field(default_factory=list)
    examples: bool = True

    def filled_up(self, tags: list[str] | None = None, **others: Any) -> SpanMarkerModelCardData:
        """Add what someone else knows.

        Args:
            tags: More tags.
            **others: Values of other fields; they count where there is none yet.

        Returns:
            A copy.
        """
        missing = {name: value for name, value in others.items() if getattr(self, name) is None}
        return dataclasses.replace(self, tags=[*self.tags, *(tags or ())], **missing)


def render(
    config: SpanMarkerConfig, max_text_length: int, data: SpanMarkerModelCardData, record: TrainingRecord | None = None
) -> str:
    """Write a model card.

    Args:
        config: The model's configuration.
        max_text_length: Its text limit in tokens.
        data: What the user knows.
        record: What training left behind; None if the model was not trained here.

    Returns:
        The card, metadata and text.
    """
    shown = record if record is not None and data.examples else None
    encoder_id = data.encoder_id or _hub_id(getattr(config.encoder, "_name_or_path", None))
    encoder_name = data.encoder_name or encoder_id
    dataset_id = data.dataset_id or (record.dataset_id if record else None)
    dataset_name = data.dataset_name or dataset_id
    parts = [f" with {encoder_name}" if encoder_name else "", f" on {dataset_name}" if dataset_name else ""]
    title = data.model_name or "SpanMarker" + "".join(parts)
    results = _eval_results(record, dataset_name, dataset_id, data.dataset_revision)
    metadata = ModelCardData(
        language=data.language,
        license=data.license,
        library_name=LIBRARY_NAME,
        tags=[*TAGS, *([TRAINER_TAG] if record else []), *data.tags],
        base_model=encoder_id,
        datasets=[dataset_id] if dataset_id else None,
        metrics=["precision", "recall", "f1"],
        widget=[{"text": text} for text in shown.texts] if shown and shown.texts else None,
        pipeline_tag=PIPELINE_TAG,
        model_name=title if results else None,
        eval_results=results or None,
        co2_eq_emissions=record.emissions if record else None,
    )
    languages = [data.language] if isinstance(data.language, str) else data.language or []
    card: ModelCard = ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        title=title,
        encoder=_link(encoder_name, encoder_id, "https://huggingface.co/"),
        dataset=_link(dataset_name, dataset_id, "https://huggingface.co/datasets/"),
        dataset_id=dataset_id,
        model_id=data.model_id or NO_ID,
        language=", ".join(languages),
        license=data.license,
        model_max_length=max_text_length,
        entity_max_length=config.entity_max_length,
        trained_with_document_context=config.trained_with_document_context,
        example=json.dumps(next(iter(shown.texts), DEFAULT_EXAMPLE) if shown else DEFAULT_EXAMPLE, ensure_ascii=False),
        label_table=_label_table(config.reduced_labels, shown),
        results_table=_results_table(record),
        data_table=_data_table(record),
        hyperparameters=record.hyperparameters if record else {},
        evaluations_table=_evaluations_table(record.evaluations if record else []),
        emissions=record.emissions if record else None,
        versions={
            "Python": platform.python_version(),
            "SpanMarker": __version__,
            "Transformers": transformers.__version__,
            "PyTorch": torch.__version__,
            "Datasets": datasets.__version__,
            "Tokenizers": tokenizers.__version__,
        },
    )
    return str(card)


def complete(text: str, data: SpanMarkerModelCardData) -> str:
    """Write into an existing card what was not known when it was written.

    Args:
        text: The card.
        data: Its ``model_id`` and ``tags`` are used.

    Returns:
        The card, otherwise as it was.
    """
    if data.model_id:
        text = text.replace(NO_ID, data.model_id)
    if not data.tags:
        return text
    card: Any = ModelCard(text)
    card.data.tags = list(dict.fromkeys([*(card.data.tags or []), *data.tags]))
    return str(card)


def _hub_id(name: str | None) -> str | None:
    """A name under which an encoder was loaded, if it is one of the Hub rather than a folder's."""
    is_id = bool(name) and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(name)) is not None
    return name if is_id and not os.path.isdir(str(name)) else None


def _link(name: str | None, hub_id: str | None, site: str) -> str | None:
    return f"[{name}]({site}{hub_id})" if hub_id else name


def _eval_results(
    record: TrainingRecord | None, dataset_name: str | None, dataset_id: str | None, revision: str | None
) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=PIPELINE_TAG,
            task_name="Named Entity Recognition",
            dataset_type=dataset_id or "unknown",
            dataset_name=dataset_name or "Unknown",
            dataset_split=name,
            dataset_revision=revision,
            metric_type=metric,
            metric_name=title,
            metric_value=metrics[f"{name}_overall_{metric}"],
        )
        for name, metrics in (record.results if record else {}).items()
        for metric, title in METRICS.items()
        if f"{name}_overall_{metric}" in metrics  # those that the caller computes may be others
    ]


def _label_table(labels: Sequence[str], record: TrainingRecord | None) -> str:
    examples = record.label_examples if record else {}
    rows = [
        (label, ", ".join(json.dumps(text, ensure_ascii=False) for text in examples.get(label, [])))
        for label in labels
        if label != OUTSIDE
    ]
    return markdown_table(["Label", "Examples"], rows) if examples else markdown_table(["Label"], [r[:1] for r in rows])


def _results_table(record: TrainingRecord | None) -> str:
    """Precision, recall and F1 of each label, of the latest evaluation that has them."""
    for name, metrics in reversed(list(record.results.items() if record else ())):
        rows = [
            (key.removeprefix(f"{name}_"), *(f"{value[metric]:.4f}" for metric in ("precision", "recall", "f1")))
            for key, value in sorted(metrics.items())
            if isinstance(value, dict) and key.startswith(f"{name}_")
        ]
        if rows:
            overall = (f"{metrics[f'{name}_overall_{metric}']:.4f}" for metric in ("precision", "recall", "f1"))
            return markdown_table(["Label", "Precision", "Recall", "F1"], [("**all**", *overall), *rows])
    return ""


def _data_table(record: TrainingRecord | None) -> str:
    if record is None:
        return ""
    spreads = {"Sentence length": record.sentence_lengths, "Entities per sentence": record.entity_counts}
    rows = [(name, *(f"{number:g}" for number in spread)) for name, spread in spreads.items()]
    return markdown_table(["Training set", "Min", "Median", "Max"], rows)


def _evaluations_table(evaluations: Sequence[Evaluation]) -> str:
    if not evaluations:
        return ""
    titles = ["Epoch", "Step", *(f"Validation {name}" for name in ("Loss", "Precision", "Recall", "F1", "Accuracy"))]
    rows = [[_number(value) for value in evaluation[1:]] for evaluation in evaluations]
    if len({evaluation.name for evaluation in evaluations}) > 1:
        titles = ["Data", *titles]
        rows = [[e.name.removeprefix("eval_"), *row] for e, row in zip(evaluations, rows, strict=True)]
    return markdown_table(titles, rows)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4f}"
