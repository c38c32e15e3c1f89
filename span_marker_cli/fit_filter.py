"""``span-marker fit-filter``."""

from typing import Annotated

import typer

from span_marker_cli.common import (
    BatchSize,
    Device,
    Encoding,
    InputFormat,
    Model,
    Output,
    TextColumn,
    Texts,
    TokenColumn,
    changed_model,
    read_texts,
)


def fit_filter(
    model: Model,
    texts: Texts,
    recall: Annotated[float, typer.Option("--recall", help="Share of the model's entities to keep.")] = 0.995,
    output: Output = None,
    batch_size: BatchSize = 32,
    input_format: InputFormat = None,
    text_column: TextColumn = None,
    token_column: TokenColumn = None,
    encoding: Encoding = None,
    device: Device = None,
) -> None:
    """Fit a candidate filter to a model, or choose a new threshold if it was trained with one."""
    contents = [*read_texts(texts, input_format, text_column, token_column, encoding)]
    with changed_model(model, output, device) as changed:
        if changed.config.best_per_word is None:
            typer.echo(changed.fit_span_filter(contents, recall=recall, batch_size=batch_size))
        else:
            typer.echo(changed.tune_span_filter(contents, recall, batch_size))
