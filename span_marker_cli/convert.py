"""``span-marker convert``."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from span_marker_cli.common import Format, Read, named_values, note, read_file
from span_marker_cli.wording import in_options


def convert(
    source: Annotated[Path, typer.Argument(help="Annotated file, or brat folder.")],
    target: Annotated[str, typer.Argument(help="File to write, or FOLDER/ for brat.")],
    format: Format = None,
    read: Read = None,
    to: Annotated[
        Optional[str], typer.Option("--to", help="Format to write.", show_default="by the extension of TARGET")
    ] = None,
    write: Annotated[
        Optional[list[str]],
        typer.Option(
            "--write",
            metavar="NAME=VALUE",
            help="An argument of write_annotations, such as errors=skip, or a language as nlp=de. Repeat for several.",
        ),
    ] = None,
) -> None:
    """Convert annotated data from one format to another. For texts without annotation, use predict."""
    from span_marker import write_annotations

    if source.resolve() == Path(target).resolve():
        raise ValueError(f"{source} cannot be both input and output: choose another target")
    data = read_file(source, format, read)
    options = named_values("--write", write)
    if "nlp" in options:
        import spacy

        options["nlp"] = spacy.blank(options["nlp"])
    try:
        write_annotations(target, data, format=to, **options)
    except (TypeError, ValueError) as error:
        names = {name: f"--write {name}=" for name in ("errors", "offsets", "nlp", "spans_key")}
        raise type(error)(in_options(str(error), {"format": "--to", **names})) from error
    note(f"{len(data):,} rows written to {target}")
