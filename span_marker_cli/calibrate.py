"""``span-marker calibrate``."""

import typer

from span_marker_cli.common import BatchSize, Data, Device, Format, Model, Output, Read, changed_model, read_data


def calibrate(
    model: Model,
    data: Data,
    output: Output = None,
    format: Format = None,
    read: Read = None,
    batch_size: BatchSize = 32,
    device: Device = None,
) -> None:
    """Calibrate a model's scores on held-out data, and save the result with the model."""
    import span_marker

    with changed_model(model, output, device) as changed:
        typer.echo(span_marker.calibrate(changed, read_data(data, format, read), batch_size=batch_size))
