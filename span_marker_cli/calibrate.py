"""``span-marker calibrate``."""

import typer

from span_marker_cli.common import BatchSize, Data, Device, Format, Model, Output, load_model, read_data, save_model


def calibrate(
    model: Model,
    data: Data,
    output: Output = None,
    format: Format = None,
    batch_size: BatchSize = 32,
    device: Device = None,
) -> None:
    """Fit a model's scores to how often they are right on held-out data, and save that with the model."""
    import span_marker

    loaded = load_model(model, device)
    typer.echo(span_marker.calibrate(loaded, read_data(data, format), batch_size=batch_size))
    save_model(loaded, model, output)
