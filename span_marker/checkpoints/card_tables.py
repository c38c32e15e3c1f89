"""The tables of a model card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from span_marker.checkpoints.training_record import Evaluation, TrainingRecord
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.labels import OUTSIDE
from span_marker.core.metrics import label_metric
from span_marker.core.relation_metrics import BOUNDARIES, GIVEN, RELATION, RELATION_NAMES, metrics_of_labels
from span_marker.core.tables import markdown_table

FIGURES = {"precision": "Precision", "recall": "Recall", "f1": "F1"}
"""Columns of result tables, by metric name."""

ALL = "**all**"
"""Stands for all labels in tables."""

OUTDATED = " (before the model was last changed)"
"""Suffix of the names of metrics in the metadata that were measured before the model was changed."""


def label_table(classes: Sequence[str], examples: Mapping[str, Sequence[str]]) -> str:
    """List the labels of entities.

    Args:
        classes: The classes of the model.
        examples: Texts of entities of each label; empty if the card shows none.

    Returns:
        The table.
    """
    labels = [label for label in classes if label != OUTSIDE]
    if not examples:
        return markdown_table(["Label"], [(label,) for label in labels])
    quoted = {label: [json.dumps(text, ensure_ascii=False) for text in texts] for label, texts in examples.items()}
    return markdown_table(["Label", "Examples"], [(label, ", ".join(quoted.get(label, []))) for label in labels])


def relation_table(config: SpanMarkerConfig) -> str:
    """List the relations of a model, and the entities that they connect.

    Args:
        config: The model's configuration.

    Returns:
        The table; empty if the model has no relations.
    """
    types = config.relation_types if isinstance(config.relation_types, list) else []
    rows = []
    for label in (config.relation_labels or [])[1:]:
        pairs = [(head, tail) for head, relation, tail in types if relation == label]
        if label in (config.symmetric_relations or []):
            direction, joined = "none", [" and ".join(pair) for pair in dict.fromkeys(tuple(sorted(p)) for p in pairs)]
        else:
            direction, joined = "head to tail", [" → ".join(pair) for pair in pairs]
        rows.append((label, direction, ", ".join(joined) or "any entities"))
    return markdown_table(["Relation", "Direction", "Joins"], rows) if rows else ""


def results_table(record: TrainingRecord | None) -> str:
    """Show the latest evaluation that has metrics per label: entities first, then relations.

    Args:
        record: What `Trainer` recorded, or None.

    Returns:
        The name of the evaluation and the tables; empty if there is none.
    """
    for name, metrics in reversed(list(record.results.items() if record else ())):
        labels, relations = metrics_of_labels(metrics, f"{name}_")
        if labels:
            when = OUTDATED if record and name in record.outdated else ""
            rows = [(label, *_figures(value)) for label, value in _with_all(metrics, f"{name}_overall_", labels)]
            parts = [f"Evaluation `{name}`{when}:", markdown_table(["Label", *FIGURES.values()], rows)]
            if relations:
                parts += _relation_results(metrics, f"{name}_{RELATION}", relations)
            return "\n\n".join(parts)
    return ""


def _with_all(metrics: Mapping[str, Any], prefix: str, labels: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The metrics over all labels, and per label."""
    return [(ALL, {name: metrics[prefix + name] for name in FIGURES}), *labels.items()]


def _relation_results(metrics: Mapping[str, Any], prefix: str, relations: Mapping[str, Any]) -> list[str]:
    """A sentence, and a table with the metrics per relation."""
    rows = []
    for label, figures in _with_all(metrics, prefix, relations):
        name = label_metric(label, RELATION_NAMES)
        others = [
            metrics.get(f"{prefix}{kind}f1") if label == ALL else metrics.get(f"{prefix}{kind}{name}", {}).get("f1")
            for kind in (BOUNDARIES, GIVEN)
        ]
        rows.append((label, *_figures(figures), *map(_number, others)))
    return [
        "A relation is correct if its label, and the words and labels of both entities are:",
        markdown_table(["Relation", *FIGURES.values(), "F1 of words alone", "F1 with gold entities"], rows),
    ]


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    return [f"{metrics[name]:.4f}" for name in FIGURES]


def data_table(record: TrainingRecord | None) -> str:
    """Summarize the training data.

    Args:
        record: What `Trainer` recorded, or None.

    Returns:
        The table; empty without a record.
    """
    if record is None:
        return ""
    spreads = {"Sentence length": record.sentence_lengths, "Entities per sentence": record.entity_counts}
    rows = [(name, *(f"{number:g}" for number in spread)) for name, spread in spreads.items()]
    return markdown_table(["Training set", "Min", "Median", "Max"], rows)


def evaluations_table(evaluations: Sequence[Evaluation]) -> str:
    """List the evaluations during training.

    Args:
        evaluations: The evaluations.

    Returns:
        The table, with a column for the data if there are several; empty without evaluations.
    """
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
