"""``span-marker export``."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from span_marker_cli.common import Model, load_model, results_only


def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Folder to write, which must not hold weights.")],
    texts: Annotated[
        Optional[list[Path]], typer.Option("--texts", help="Files of texts to compare the models on, too.")
    ] = None,
) -> None:
    """Export a model to ONNX, and compare the export with the model before it is kept."""
    from span_marker.bulk.sources import find_files, read_items
    from span_marker.export import export_onnx

    more = [item.content for item in read_items(find_files(texts))] if texts else []
    with results_only():
        report = export_onnx(load_model(model, "cpu"), folder, [text for text in more if isinstance(text, str)])
    typer.echo(report)
    typer.echo(f"saved in {folder}", err=True)
