"""``span-marker convert``."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from span_marker_cli.common import Format


def convert(
    source: Annotated[Path, typer.Argument(help="Annotated file, or brat folder.")],
    target: Annotated[Path, typer.Argument(help="File or folder to write.")],
    format: Format = None,
    to: Annotated[
        Optional[str], typer.Option("--to", help="Format to write.", show_default="by the ending of TARGET")
    ] = None,
) -> None:
    """Convert annotated data from one format to another."""
    from span_marker import read_annotations, write_annotations

    data = read_annotations(source, format)
    write_annotations(target, data, format=to)
    typer.echo(f"{len(data):,} rows in {target}", err=True)
