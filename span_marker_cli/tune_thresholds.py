"""``span-marker tune-thresholds``."""

from typing import Annotated, Optional

import typer

from span_marker_cli.common import BatchSize, Data, Device, Format, Model, Output, Read, changed_model, read_data


def tune_thresholds(
    model: Model,
    data: Data,
    precision: Annotated[
        Optional[float],
        typer.Option("--precision", help="Precision that each label must reach.", show_default="best F1"),
    ] = None,
    output: Output = None,
    format: Format = None,
    read: Read = None,
    batch_size: BatchSize = 32,
    device: Device = None,
) -> None:
    """Tune the threshold of each label on held-out data, and save them with the model."""
    import span_marker

    with changed_model(model, output, device) as changed:
        typer.echo(span_marker.tune_thresholds(changed, read_data(data, format, read), precision, batch_size))
