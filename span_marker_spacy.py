"""The factory of the spaCy component ``span_marker``.

spaCy imports the modules of all factories that are installed as soon as anyone makes a pipeline. So this one stands
outside of the package, which is imported when the component is asked for.
"""

# No future import: spaCy checks the types of settings by the annotations, which must be no strings for that.

from typing import Any

from spacy.language import Language


@Language.factory("span_marker", assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type", "span._.score"])
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
) -> Any:
    """Make the component.

    Args:
        nlp: See `span_marker.integrations.spacy.SpanMarkerComponent`.
        name: Likewise.
        model: Likewise.
        batch_size: Likewise.
        device: Likewise.
        overwrite_entities: Likewise.
        spans_key: Likewise.
        threshold: Likewise.
        decoding: Likewise.
        exact: Likewise.

    Returns:
        The component.
    """
    from span_marker.integrations.spacy import SpanMarkerComponent

    return SpanMarkerComponent(
        name, model, batch_size, device, overwrite_entities, spans_key, threshold, decoding, exact
    )
