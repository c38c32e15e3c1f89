"""Arguments and options that several commands have, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from datasets import Dataset

    from span_marker import SpanMarkerModel

Model = Annotated[str, typer.Argument(help="Folder of a checkpoint, or its name on the Hub.")]
Data = Annotated[list[Path], typer.Argument(help="Annotated files or brat folders, see docs/data.md.")]
Format = Annotated[
    Optional[str], typer.Option("--format", help="Format of the annotated files.", show_default="by their endings")
]
Device = Annotated[
    Optional[str],
    typer.Option("--device", help="Such as cpu or cuda:1.", show_default="an accelerator if there is one"),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="The largest number of sentences per batch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[
    Optional[Path], typer.Option("--output", "-o", help="Folder for the changed model.", show_default="the model's own")
]


def read_data(paths: list[Path], format: str | None = None) -> Dataset:
    """Read annotated files as one data set."""
    from datasets import concatenate_datasets

    from span_marker import read_annotations

    return concatenate_datasets([read_annotations(path, format) for path in paths])


def read_splits(paths: list[Path], format: str | None = None) -> Dataset | dict[str, Dataset]:
    """Read annotated files as a data set each, named after the files."""
    from span_marker import read_annotations

    if len(paths) == 1:
        return read_annotations(paths[0], format)
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return {name: read_annotations(path, format) for name, path in zip(names, paths, strict=True)}


def load_model(path: str, device: str | None = None) -> SpanMarkerModel:
    """Load a model."""
    import torch

    from span_marker import SpanMarkerModel

    model: Any = SpanMarkerModel.from_pretrained(path)
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


@contextmanager
def changed_model(path: str, output: Path | None, device: str | None = None) -> Iterator[SpanMarkerModel]:
    """Load a model, and save it where it came from, or somewhere else, once it is changed.

    Raises:
        ValueError: If it comes from the Hub, and there is no other place.
    """
    if output is None and not Path(path).is_dir():
        raise ValueError(f"{path} is not a folder: pass --output to say where to save the changed model")
    target = output or Path(path)
    model = load_model(path, device)
    yield model
    model.save_pretrained(target)
    typer.echo(f"saved in {target}", err=True)


@contextmanager
def results_only() -> Iterator[None]:
    """Send to standard error what the trainer prints, since standard output is for results."""
    with redirect_stdout(sys.stderr):
        yield


def show(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
