"""``span-marker predict``."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from span_marker_cli.common import Device, Encoding, InputFormat, Model, TextColumn, TokenColumn, is_quiet, note


def predict(
    model: Model,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Files, folders, or - for standard input: text, JSON lines, CSV, TSV, Parquet, CoNLL.", allow_dash=True
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="<path>",
            help="JSON lines, CSV, TSV, Parquet, CoNLL, DocBin or HTML, by file extension; FOLDER/ for brat.",
        ),
    ] = "-",
    input_format: InputFormat = None,
    output_format: Annotated[
        Optional[str], typer.Option("--output-format", show_default="by file extension, or jsonl")
    ] = None,
    text_column: TextColumn = None,
    token_column: TokenColumn = None,
    encoding: Encoding = None,
    threshold: Annotated[Optional[float], typer.Option("--threshold", help="Minimum probability of an entity.")] = None,
    decoding: Annotated[
        Optional[str], typer.Option("--decoding", help="flat, flat-optimal, nested or overlapping.")
    ] = None,
    top_k: Annotated[
        Optional[int], typer.Option("--top-k", min=1, help="Number of most probable labels to return per entity.")
    ] = None,
    relations: Annotated[
        Optional[bool],
        typer.Option("--relations/--no-relations", help="Find relations, too.", show_default="if the model has them"),
    ] = None,
    relation_threshold: Annotated[
        Optional[float], typer.Option("--relation-threshold", help="Minimum probability of a relation.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Score all candidates and pairs, without filters.")] = False,
    propagate: Annotated[
        bool, typer.Option("--propagate", help="Also find the other mentions of names, see docs/rules.md.")
    ] = False,
    split_sentences: Annotated[
        bool, typer.Option("--split-sentences", help="Read each text sentence by sentence (needs spaCy).")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 32,
    num_workers: Annotated[
        int, typer.Option("--num-workers", min=1, help="Number of processes, which share the CPUs.")
    ] = 1,
    on_error: Annotated[
        str,
        typer.Option(
            "--on-error", help="raise: stop at a text that cannot be read. column: put the error into its row."
        ),
    ] = "raise",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
    device: Device = None,
    dtype: Annotated[
        Optional[str], typer.Option("--dtype", help="Number format of the weights, such as bfloat16; or fastest.")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show progress on standard error.")] = True,
) -> None:
    """Find entities and relations in files of texts, in constant memory and optionally in several processes."""
    from span_marker.bulk import predict_files

    chosen: dict[str, Any] = {
        "threshold": threshold,
        "decoding": decoding,
        "top_k": top_k,
        "relations": relations,
        "relation_threshold": relation_threshold,
        "exact": exact or None,
        "propagate": propagate or None,
        "split_sentences": split_sentences or None,
    }
    report = predict_files(
        model,
        inputs,
        output,
        input_format=input_format,
        output_format=output_format,
        text_column=text_column,
        token_column=token_column,
        encoding=encoding,
        device=device,
        dtype=dtype,
        num_workers=num_workers,
        on_error=on_error,  # type: ignore[arg-type]  # it checks the value
        resume=resume,
        overwrite=overwrite,
        show_progress=progress and not is_quiet(),
        batch_size=batch_size,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    if progress:
        note(report)
