"""``span-marker export``."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from span_marker_cli.common import (
    Encoding,
    InputFormat,
    Model,
    TextColumn,
    TokenColumn,
    check_folder,
    load_model,
    note,
    read_texts,
    results_only,
)


def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Folder to write to. It must not contain weights.")],
    texts: Annotated[
        Optional[list[Path]], typer.Option("--texts", help="Files with further texts to compare the models on.")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="Number format of the weights: float32, float16 or bfloat16.")
    ] = "float32",
    input_format: InputFormat = None,
    text_column: TextColumn = None,
    token_column: TokenColumn = None,
    encoding: Encoding = None,
) -> None:
    """Export a model to ONNX, and verify the export against the model before keeping it."""
    from span_marker.export import export_onnx

    check_folder(folder)
    more = read_texts(texts, input_format, text_column, token_column, encoding) if texts else ()
    with results_only():
        strings = [text for text in more if isinstance(text, str)]
        report = export_onnx(load_model(model, "cpu"), folder, strings, dtype)  # type: ignore[arg-type]
    typer.echo(report)
    note(f"saved to {folder}")
