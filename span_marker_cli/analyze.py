"""``span-marker analyze``."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from span_marker_cli.common import (
    BatchSize,
    Data,
    Device,
    Format,
    Model,
    Read,
    check_file,
    load_model,
    note,
    read_splits,
)


def analyze(
    model: Model,
    data: Data,
    html: Annotated[Optional[Path], typer.Option("--html", help="Also write an HTML page with all errors.")] = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Number of errors to show per kind.")] = 10,
    format: Format = None,
    read: Read = None,
    batch_size: BatchSize = 32,
    device: Device = None,
) -> None:
    """Show the errors of a model, with examples and confidence intervals."""
    from span_marker import analyze_errors

    if html is not None:
        check_file(html)
    report = analyze_errors(
        load_model(model, device), read_splits(data, format, read), batch_size, num_examples=examples
    )
    typer.echo(report)
    if html is not None:
        report.write_html(html)
        note(f"page written to {html}")
