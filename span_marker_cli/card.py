"""``span-marker card``."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from span_marker_cli.common import Model, check_file, load_model


def card(
    model: Model,
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="File to write.", show_default="standard output")
    ] = None,
) -> None:
    """Print the card of a model, or write it to a file."""
    if output is not None:
        check_file(output)
    text = load_model(model, "cpu").generate_model_card()
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text, encoding="utf-8")
