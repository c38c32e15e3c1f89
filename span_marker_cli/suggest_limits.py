"""``span-marker suggest-limits``."""

from typing import Annotated, Any

import typer

from span_marker_cli.common import Data, Format, Read, read_splits


def suggest_limits(
    data: Data,
    encoder: Annotated[str, typer.Option("--encoder", help="Encoder or checkpoint whose tokenizer to use.")],
    keep: Annotated[float, typer.Option("--keep", help="Share of the entities that the limit must keep.")] = 0.99,
    format: Format = None,
    read: Read = None,
) -> None:
    """Suggest limits for texts and entities, and show how much each would cut."""
    import span_marker
    from span_marker import SpanMarkerModel

    splits = read_splits(data, format, read)
    model = SpanMarkerModel.from_pretrained(encoder, **_labels(encoder, splits))
    typer.echo(span_marker.suggest_limits(splits, model.require_tokenizer(), keep, model.max_text_length))


def _labels(encoder: str, splits: Any) -> dict[str, Any]:
    """Labels from the data for an encoder; none for a checkpoint, which has its own."""
    from span_marker import SpanMarkerConfig
    from span_marker.checkpoints.loading import load_config
    from span_marker.checkpoints.network import adapt_to_network

    config = load_config(encoder, adapt_to_network(encoder, {}))
    return {} if isinstance(config, SpanMarkerConfig) else {"labels": splits}
