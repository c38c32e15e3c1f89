"""Reports on quantization: how often a quantized model agrees with the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from span_marker.core.tables import TextReport, text_table
from span_marker.error_analysis import Comparison

Mode = Literal["dynamic", "static"]
"""Whether the ranges of activations are taken from each batch, or were measured on texts."""


@dataclass(frozen=True)
class QuantizationReport(TextReport):
    """Agreement of a quantized model with the original. Its string is a table.

    Attributes:
        num_texts: Number of texts that were compared.
        num_equal: Number of texts with the same entities, and the same relations if the model has any.
        num_entities: Number of entities that the original finds.
        num_kept: Number of these that the quantized model finds, too.
        num_new: Number of entities that only the quantized model finds.
        max_difference: The largest difference between the scores of an entity that both find.
        num_bytes: Size of the graphs and their weights, of the original and of the quantized model.
        mode: ``"dynamic"`` or ``"static"``.
        num_layers: Number of linear layers, and how many of them stay in float32.
        num_relations: Number of relations that the original finds.
        num_kept_relations: Number of these that the quantized model finds, too, between the same entities.
        num_new_relations: Number of relations that only the quantized model finds.
        comparison: On annotated data, the figures of the original (first) and of the quantized model (second), with
            bootstrap intervals of their differences; otherwise None.
    """

    num_texts: int
    num_equal: int
    num_entities: int
    num_kept: int
    num_new: int
    max_difference: float
    num_bytes: tuple[int, int]
    mode: Mode
    num_layers: tuple[int, int]
    comparison: Comparison | None = None
    num_relations: int = 0
    num_kept_relations: int = 0
    num_new_relations: int = 0

    def __str__(self) -> str:
        before, after = (f"{size / 1e6:,.1f}" for size in self.num_bytes)
        rows = [
            (
                "texts with the same entities" + (" and relations" if self.num_relations else ""),
                f"{self.num_equal:,} of {self.num_texts:,}",
            ),
            ("entities of the original that are found", f"{self.num_kept:,} of {self.num_entities:,}"),
            ("entities that the original does not find", f"{self.num_new:,}"),
            ("largest difference between scores", f"{self.max_difference:.3f}"),
            ("megabytes", f"{before} -> {after}"),
            (f"linear layers in float32 ({self.mode})", f"{self.num_layers[1]:,} of {self.num_layers[0]:,}"),
        ]
        if self.comparison is not None:
            rows.append(("F1", f1_change(self.comparison)))
        if self.num_relations or self.num_new_relations:
            kept = f"{self.num_kept_relations:,} of {self.num_relations:,}"
            rows[3:3] = [
                ("relations of the original that are found", kept),
                ("relations that the original does not find", f"{self.num_new_relations:,}"),
            ]
        return text_table(rows)

    def in_words(self) -> str:
        """Describe the effect of quantization, for a model card.

        Returns:
            One line.
        """
        found = "entities and relations" if self.num_relations else "entities"
        f1 = "" if self.comparison is None else f" F1 changes from {f1_change(self.comparison)}."
        return (
            f"Quantized to 8 bits ({self.mode}). Of {self.num_texts:,} texts, {self.num_equal:,} have the same {found} "
            f"as before.{f1}"
        )


def f1_change(comparison: Comparison) -> str:
    """Describe the difference in F1 between two systems.

    Args:
        comparison: The comparison.

    Returns:
        Both figures, and their difference with its interval.
    """
    figure = comparison.overall.f1
    value, low, high = figure.difference[:3]
    interval = f"{100 * comparison.confidence:.4g}% interval {low:+.4f} to {high:+.4f}"
    return f"{figure.first:.4f} -> {figure.second:.4f} ({value:+.4f}, {interval})"
