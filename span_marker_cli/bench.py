"""``span-marker bench``."""

from typing import Annotated

import typer

from span_marker_cli.common import (
    AsJson,
    Device,
    Encoding,
    InputFormat,
    Model,
    TextColumn,
    Texts,
    TokenColumn,
    load_model,
    read_texts,
    show,
)


def bench(
    model: Model,
    texts: Texts,
    sentences: Annotated[int, typer.Option("--sentences", min=1, help="Maximum number of texts to read.")] = 1_000,
    batch_sizes: Annotated[list[int], typer.Option("--batch-size", min=1, help="Repeat for several.")] = [1, 8, 32],  # noqa: B006
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Number of times to read all texts.")] = 3,
    input_format: InputFormat = None,
    text_column: TextColumn = None,
    token_column: TokenColumn = None,
    encoding: Encoding = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure sentences per second, latency and memory, by batch size."""
    from span_marker.bulk.measuring import measure

    contents = read_texts(texts, input_format, text_column, token_column, encoding)
    report = measure(load_model(model, device), contents, sentences, batch_sizes, rounds)
    if as_json:
        show(report.to_dict())
    else:
        typer.echo(report)
