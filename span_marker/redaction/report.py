"""Statistics of a redaction."""

from __future__ import annotations

from dataclasses import dataclass

from span_marker.core.tables import TextReport, text_table


@dataclass(frozen=True)
class RedactionReport(TextReport):
    """Statistics of a redaction, without any text. Its string is a table.

    Attributes:
        how: The kind of replacement; ``"function"`` for a function.
        num_texts: Number of texts.
        num_characters: Number of characters of these texts.
        num_redacted: Number of these characters that were replaced.
        num_entities: Number of entities passed.
        spans: Number of replaced spans per label. Overlapping entities are one span.
        names: Number of different names per label; empty if ``how`` does not tell names apart.
    """

    how: str
    num_texts: int
    num_characters: int
    num_redacted: int
    num_entities: int
    spans: dict[str, int]
    names: dict[str, int]

    def __str__(self) -> str:
        spans = f"{sum(self.spans.values()):,} spans of {self.num_entities:,} entities"
        lines = [
            f"how={self.how!r}: {spans} in {self.num_texts:,} texts",
            f"{self.num_redacted:,} of {self.num_characters:,} characters were replaced.",
        ]
        if self.spans:
            titles = ["label", "spans", *(["names"] if self.names else [])]
            counts = [self.spans, *([self.names] if self.names else [])]
            rows = [[label, *(f"{column.get(label, 0):,}" for column in counts)] for label in sorted(self.spans)]
            lines += ["", text_table([titles, *rows])]
        return "\n".join(lines)
