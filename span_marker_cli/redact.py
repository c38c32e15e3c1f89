"""``span-marker redact``."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from span_marker_cli.common import (
    Device,
    Encoding,
    InputFormat,
    Model,
    TextColumn,
    TokenColumn,
    check_file,
    note,
    read_secret,
)


def redact(
    model: Model,
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Files, folders, or - for standard input, as for predict.", allow_dash=True),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="<path>", help="Texts or JSON lines, by file extension; - for texts."),
    ] = "-",
    how: Annotated[
        str, typer.Option("--how", help="label, numbered, hash, mask or remove, see docs/redaction.md.")
    ] = "numbered",
    key_env: Annotated[
        Optional[str], typer.Option("--key-env", metavar="NAME", help="Environment variable with the key for hash.")
    ] = None,
    key_file: Annotated[Optional[Path], typer.Option("--key-file", help="File with the key for hash.")] = None,
    map_file: Annotated[
        Optional[Path], typer.Option("--map", help="File for what was redacted, to restore it, as JSON lines.")
    ] = None,
    report: Annotated[Optional[Path], typer.Option("--report", help="File for statistics, as JSON.")] = None,
    keep: Annotated[
        Optional[list[str]], typer.Option("--keep", help="Column to copy to the output. Repeat for several.")
    ] = None,
    input_format: InputFormat = None,
    output_format: Annotated[
        Optional[str], typer.Option("--output-format", help="text or jsonl.", show_default="by file extension")
    ] = None,
    text_column: TextColumn = None,
    token_column: TokenColumn = None,
    encoding: Encoding = None,
    threshold: Annotated[Optional[float], typer.Option("--threshold", help="Minimum probability of an entity.")] = None,
    propagate: Annotated[
        bool, typer.Option("--propagate", help="Also find the other mentions of names, see docs/rules.md.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 32,
    num_workers: Annotated[
        int, typer.Option("--num-workers", min=1, help="Number of processes, which share the CPUs.")
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    device: Device = None,
    dtype: Annotated[
        Optional[str], typer.Option("--dtype", help="Number format of the weights, such as bfloat16; or fastest.")
    ] = None,
) -> None:
    """Replace the entities in files of texts. Output is written only at the end, so a stopped run starts over."""
    import json

    from span_marker.bulk import redact_files
    from span_marker.data.text_files import writing

    if report is not None:
        check_file(report)
        others = [*inputs, Path(output), *([] if map_file is None else [map_file])]
        if report.resolve() in [path.resolve() for path in others]:
            raise ValueError(f"--report {report} is an input, the output or the map: choose another file")
        if report.exists() and not overwrite:
            raise FileExistsError(f"{report} exists: pass --overwrite to replace it")
    chosen: dict[str, Any] = {"threshold": threshold, "propagate": propagate or None}
    numbers = redact_files(
        model,
        inputs,
        output,
        how=how,  # type: ignore[arg-type]  # it checks the value
        key=read_secret(key_env, key_file),
        map_file=map_file,
        keep=keep or (),
        input_format=input_format,
        output_format=output_format,
        text_column=text_column,
        token_column=token_column,
        encoding=encoding,
        device=device,
        dtype=dtype,
        num_workers=num_workers,
        overwrite=overwrite,
        batch_size=batch_size,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    note(numbers)
    if report is not None:
        with writing(report) as file:
            json.dump(numbers.to_dict(), file, indent=2, ensure_ascii=False)
