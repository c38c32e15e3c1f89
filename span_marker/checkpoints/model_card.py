"""Model cards: what a model is, what it was trained on and how well it performs, for people and for the Hub."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from span_marker.checkpoints.card_tables import (
    OUTDATED,
    data_table,
    evaluations_table,
    label_table,
    relation_table,
    results_table,
)
from span_marker.checkpoints.training_record import TrainingRecord
from span_marker.configuration import SpanMarkerConfig
from span_marker.version import __version__

LIBRARY_NAME = "span-marker"
PIPELINE_TAG = "token-classification"
"""Task under which the Hub lists the model, and whose widget it uses."""

TAGS = (LIBRARY_NAME, PIPELINE_TAG, "ner", "named-entity-recognition")
TRAINER_TAG = "generated_from_span_marker_trainer"
METRICS = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
TASKS = {
    "overall": (PIPELINE_TAG, "Named Entity Recognition"),
    "relation": ("relation-extraction", "Relation Extraction"),
}
"""Type and name of the task of a metric, by prefix of its name."""

TEMPLATE = Path(__file__).with_name("model_card_template.md")
NO_ID = "span_marker_model_id"
"""Placeholder for the model's name in examples, until it is known."""

CHANGES = re.compile(r"<!-- changes -->\n.*?<!-- /changes -->\n", re.DOTALL)
"""The section of the card on changes after training."""

CHANGE = re.compile(r"^- \*\*(.+?):\*\* (.+)$", re.MULTILINE)
"""An entry of this section: what was changed, and how."""

VERSIONS = {"Transformers": "transformers", "PyTorch": "torch", "Datasets": "datasets", "Tokenizers": "tokenizers"}
"""Libraries whose versions a card lists, and their distributions."""

DEFAULT_EXAMPLE = "Amelia Earhart flew her single engine Lockheed Vega 5B across the Atlantic to Paris."


@dataclass
class SpanMarkerModelCardData:
    """Information about a model that only the user has, for its card. Nothing is looked up on the network.

    Args:
        language: Language of the text, such as ``"en"``, or a list of languages.
        license: License of the model, such as ``"apache-2.0"``.
        model_name: Title of the card. Defaults to a title with the encoder and the data.
        model_id: Name of the model's repository on the Hub, such as ``"user/name"``; ``push_to_hub`` fills it in.
        encoder_name: Name of the encoder, for readers. Defaults to ``encoder_id``.
        encoder_id: Name of the encoder's repository on the Hub. Defaults to the name that it was loaded from, unless
            that was a folder.
        dataset_name: Name of the training data, for readers. Defaults to ``dataset_id``.
        dataset_id: Name of the data's repository on the Hub. Defaults to the repository that the data was loaded from,
            if any. If you set it, the card shows examples.
        dataset_revision: Commit of the data.
        tags: More tags for the Hub.
        examples: Whether the card shows texts and entities of the training and evaluation data. Defaults to whether you
            set ``dataset_id``, which implies that the data is public.
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
    examples: bool | None = None

    @property
    def shows_examples(self) -> bool:
        """Whether the card shows texts and entities of the data."""
        return self.dataset_id is not None if self.examples is None else self.examples

    def filled_up(self, tags: list[str] | None = None, **others: Any) -> SpanMarkerModelCardData:
        """Fill the gaps in this data.

        Args:
            tags: Tags to add.
            **others: Values for fields that are None.

        Returns:
            A copy.
        """
        missing = {name: value for name, value in others.items() if getattr(self, name) is None}
        return dataclasses.replace(self, tags=[*self.tags, *(tags or ())], **missing)


def render_model_card(
    config: SpanMarkerConfig,
    max_text_length: int,
    data: SpanMarkerModelCardData,
    record: TrainingRecord | None = None,
    changes: Mapping[str, str] | None = None,
) -> str:
    """Write a model card.

    Args:
        config: The model's configuration.
        max_text_length: The text limit in force, in tokens.
        data: What the user knows.
        record: What `Trainer` recorded; None if the model was not trained here.
        changes: What was changed after training, and how, in chronological order.

    Returns:
        The card, metadata and text.
    """
    encoder_id = data.encoder_id or hub_id(getattr(config.encoder, "_name_or_path", None))  # private: its origin
    data = data.filled_up(
        examples=data.shows_examples,  # by the caller's own dataset_id: data on the Hub may be private
        encoder_id=encoder_id,
        encoder_name=encoder_id,
        dataset_id=record.dataset_id if record else None,
        dataset_name=data.dataset_id or (record.dataset_id if record else None),
    )
    title = data.model_name or "".join(
        [
            "SpanMarker",
            f" with {data.encoder_name}" if data.encoder_name else "",
            f" on {data.dataset_name}" if data.dataset_name else "",
        ]
    )
    card: ModelCard = ModelCard.from_template(
        _metadata(title, data, record),
        template_path=str(TEMPLATE),
        title=title,
        **_context(config, max_text_length, data, record),
        changes=_changes_section(changes or {}, _measured(record)),
    )
    return str(card)


def _metadata(title: str, data: SpanMarkerModelCardData, record: TrainingRecord | None) -> ModelCardData:
    """The metadata for the Hub. Gaps in ``data`` must have been filled."""
    results = _eval_results(data, record)
    texts = record.texts if record and data.examples else []
    return ModelCardData(
        language=data.language,
        license=data.license,
        library_name=LIBRARY_NAME,
        tags=[*TAGS, *([TRAINER_TAG] if record else []), *data.tags],
        base_model=data.encoder_id,
        datasets=[data.dataset_id] if data.dataset_id else None,
        metrics=["precision", "recall", "f1"],
        widget=[{"text": text} for text in texts] or None,
        pipeline_tag=PIPELINE_TAG,
        model_name=title if results else None,
        eval_results=results or None,
        co2_eq_emissions=record.emissions if record else None,
    )


def _context(
    config: SpanMarkerConfig, max_text_length: int, data: SpanMarkerModelCardData, record: TrainingRecord | None
) -> dict[str, Any]:
    """The variables of the template except the title. Gaps in ``data`` must have been filled."""
    shown = record if data.examples else None
    languages = [data.language] if isinstance(data.language, str) else data.language or []
    return {
        "encoder": _link(data.encoder_name, data.encoder_id, "https://huggingface.co/"),
        "dataset": _link(data.dataset_name, data.dataset_id, "https://huggingface.co/datasets/"),
        "dataset_id": data.dataset_id,
        "model_id": data.model_id or NO_ID,
        "language": ", ".join(languages),
        "license": data.license,
        "model_max_length": max_text_length,
        "entity_max_length": config.entity_max_length,
        "trained_with_document_context": config.trained_with_document_context,
        "compression": config.compression or {},
        "example": json.dumps(shown.texts[0] if shown and shown.texts else DEFAULT_EXAMPLE, ensure_ascii=False),
        "label_table": label_table(config.classes, shown.label_examples if shown else {}),
        "relation_table": relation_table(config),
        "results": results_table(record),
        "version": __version__,
        "is_read_by_1x": not config.unknown_to_1x,
        "data_table": data_table(record),
        "hyperparameters": record.hyperparameters if record else {},
        "evaluations_table": evaluations_table(record.evaluations if record else []),
        "emissions": record.emissions if record else None,
        "versions": {
            "Python": platform.python_version(),
            "SpanMarker": __version__,
            **{name: version(distribution) for name, distribution in VERSIONS.items()},
        },
    }


def fill_in_model_card(text: str, data: SpanMarkerModelCardData) -> str:
    """Add information to an existing card that was unknown when it was written.

    Args:
        text: The card.
        data: Only its ``model_id`` and ``tags`` are used.

    Returns:
        The card, otherwise unchanged.
    """
    if data.model_id:
        text = text.replace(NO_ID, data.model_id)
    if not data.tags:
        return text
    card: Any = ModelCard(text)
    card.data.tags = list(dict.fromkeys([*(card.data.tags or []), *data.tags]))
    return str(card)


def note_change_in_card(text: str, subject: str, change: str) -> str:
    """State in an existing card that the model was changed after its metrics were measured.

    Args:
        text: The card.
        subject: What was changed. It replaces an earlier entry with the same subject.
        change: How it was changed, on one line.

    Returns:
        The card with a section on changes, and with marked metrics in its metadata.
    """
    section = CHANGES.search(text)
    changes = dict(CHANGE.findall(section[0])) if section else {}
    changes.pop(subject, None)  # the latest change comes last
    changes[subject] = change
    new_section = _changes_section(changes, "All other figures in this card were measured before the last change.")
    if section:
        text = text[: section.start()] + new_section + text[section.end() :]
    else:
        before, uses, after = text.partition("\n## Uses\n")
        text = f"{before.rstrip()}\n\n{new_section}{uses}{after}"
    card: Any = ModelCard(text)
    if not card.data.eval_results:
        return text
    for result in card.data.eval_results:
        result.metric_name = (result.metric_name or result.metric_type).removesuffix(OUTDATED) + OUTDATED
    return str(card)


def _changes_section(changes: Mapping[str, str], measured: str) -> str:
    """The section on changes after training, with a sentence on when the metrics of the card were measured."""
    if not changes:
        return ""
    entries = "\n".join(f"- **{subject}:** {change}" for subject, change in changes.items())
    return f"<!-- changes -->\n### Changes After Training\n{entries}\n\n{measured}\n<!-- /changes -->\n"


def _measured(record: TrainingRecord | None) -> str:
    """When the results of a record were measured."""
    results = record.results if record else {}
    parts = {
        "before the last change": [name for name in results if record and name in record.outdated],
        "after it": [name for name in results if record and name not in record.outdated],
    }
    sentences = [f"{', '.join(f'`{name}`' for name in names)} {when}" for when, names in parts.items() if names]
    return f"Metrics were measured: {'; '.join(sentences)}." if sentences else "No metrics were measured."


def hub_id(name: str | None) -> str | None:
    """Return the name that something was loaded from, if it is a repository on the Hub.

    Args:
        name: The name, or None.

    Returns:
        The name; None if it was a folder.
    """
    is_id = bool(name) and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(name)) is not None
    return name if is_id and not os.path.isdir(str(name)) else None


def _link(name: str | None, hub_id: str | None, site: str) -> str | None:
    return f"[{name}]({site}{hub_id})" if hub_id else name


def _eval_results(data: SpanMarkerModelCardData, record: TrainingRecord | None) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=task_type,
            task_name=task_name,
            dataset_type=data.dataset_id or "unknown",
            dataset_name=data.dataset_name or "Unknown",
            dataset_split=name,
            dataset_revision=data.dataset_revision,
            metric_type=metric,
            metric_name=title + (OUTDATED if record and name in record.outdated else ""),
            metric_value=metrics[f"{name}_{kind}_{metric}"],
        )
        for name, metrics in (record.results if record else {}).items()
        for kind, (task_type, task_name) in TASKS.items()
        for metric, title in METRICS.items()
        if f"{name}_{kind}_{metric}" in metrics  # compute_metrics of the caller may return other metrics
    ]
