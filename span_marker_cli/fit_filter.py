"""``span-marker fit-filter``."""

from pathlib import Path
from typing import Annotated

import typer

from span_marker_cli.common import BatchSize, Device, Model, Output, changed_model


def fit_filter(
    model: Model,
    texts: Annotated[list[Path], typer.Argument(help="Files or folders of texts, as for predict.")],
    recall: Annotated[float, typer.Option("--recall", help="Share of the model's entities to keep.")] = 0.995,
    output: Output = None,
    batch_size: BatchSize = 32,
    device: Device = None,
) -> None:
    """Fit a candidate filter to a model, or choose a new threshold for the one that it was trained with."""
    from span_marker.bulk.sources import find_files, read_items

    contents = [item.content for item in read_items(find_files(texts))]
    with changed_model(model, output, device) as changed:
        if changed.config.best_per_word is None:
            typer.echo(changed.fit_span_filter(contents, recall=recall, batch_size=batch_size))
        else:
            typer.echo(changed.tune_span_filter(contents, recall, batch_size))
