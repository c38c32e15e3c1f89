"""The factory of the spaCy component ``span_marker``.

spaCy imports the modules of all installed factories whenever a pipeline is created. This module is therefore outside of
the package, which is imported only when the component is created.
"""

# Without the future import, because spaCy checks settings against the annotations, which must not be strings.

from typing import Any

from spacy.language import Language


@Language.factory(
    "span_marker",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type", "span._.score", "doc._.relations"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_span_marker(
    nlp: Language,
    name: str,
    model: str,
    batch_size: int = 32,
    device: str | None = None,
    overwrite_entities: bool = False,
    spans_key: str | None = None,
    threshold: float | dict[str, float] | None = None,
    decoding: str | None = None,
    exact: bool | None = None,
    relations: bool | None = None,
    relation_threshold: float | dict[str, float] | None = None,
) -> Any:
    """Make the component.

    Args:
        nlp: The pipeline.
        name: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        model: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        batch_size: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        device: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        overwrite_entities: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        spans_key: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        threshold: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        decoding: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        exact: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        relations: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        relation_threshold: See `span_marker.integrations.spacy.SpanMarkerComponent`.

    Returns:
        The component.
    """
    from span_marker.integrations.spacy import SpanMarkerComponent

    return SpanMarkerComponent(
        name,
        model,
        batch_size,
        device,
        overwrite_entities,
        spans_key,
        threshold,
        decoding,
        exact,
        relations,
        relation_threshold,
    )
