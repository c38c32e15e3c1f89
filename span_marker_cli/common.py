"""Arguments, options and output shared by several commands."""

from __future__ import annotations

import io
import json
import logging
import os
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
    Optional[str], typer.Option("--format", help="Format of the annotated files.", show_default="by file extension")
]
Read = Annotated[
    Optional[list[str]],
    typer.Option(
        "--read",
        metavar="NAME=VALUE",
        help="An argument of read_annotations, such as tag_columns=all. Repeat for several.",
    ),
]
Texts = Annotated[list[Path], typer.Argument(help="Files or folders of texts, as for predict.")]
InputFormat = Annotated[
    Optional[str],
    typer.Option(
        "--input-format",
        help="text (one text per file), lines, jsonl, json, csv, tsv, parquet, conll or conllu.",
        show_default="by file extension",
    ),
]
TextColumn = Annotated[
    Optional[str], typer.Option("--text-column", help="Column with the texts.", show_default="text or tokens")
]
TokenColumn = Annotated[
    Optional[int],
    typer.Option(
        "--token-column",
        metavar="NUMBER",
        help="Column with the words in CoNLL files, counted from 0.",
        show_default="the first",
    ),
]
Encoding = Annotated[
    Optional[str],
    typer.Option(
        "--encoding", help="Encoding of text files, such as latin-1.", show_default="UTF-8, or by their marks"
    ),
]
Device = Annotated[
    Optional[str],
    typer.Option("--device", help="Device, such as cpu or cuda:1.", show_default="an accelerator if available"),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Maximum number of sentences per batch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[
    Optional[Path], typer.Option("--output", "-o", help="Folder for the changed model.", show_default="the model's own")
]


def named_values(option: str, given: list[str] | None) -> dict[str, Any]:
    """Parse the values of an option such as ``--read``: ``NAME=VALUE``, with the value in YAML.

    Raises:
        ValueError: If one has another form.
    """
    import yaml

    from span_marker.core.yaml_reading import parse_yaml

    values: dict[str, Any] = {}
    for word in given or ():
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if name in values:
            raise ValueError(f"{option} {word}: {name} is given twice")
        try:
            values[name] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{option} {word}: the value is not valid YAML: {error}") from error
        if not equals:
            raise ValueError(f"{option} {word} must have the form NAME=VALUE, such as {option} errors=skip")
    return values


def read_options(format: str | None, read: list[str] | None) -> dict[str, Any]:
    """Return the arguments of ``read_annotations`` that the user passed, by name.

    Raises:
        ValueError: If ``read`` has an unknown name.
    """
    from span_marker_cli.wording import read_names

    options, known = named_values("--read", read), read_names("--read")
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"--read {unknown[0]}: the name must be one of {', '.join(map(repr, known))}")
    return options if format is None else {"format": format, **options}


def read_file(path: Path, format: str | None = None, read: list[str] | None = None) -> Dataset:
    """Read an annotated file."""
    from span_marker import read_annotations
    from span_marker_cli.wording import in_options, read_names

    options = read_options(format, read)
    try:
        return read_annotations(path, **options)
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError):
            raise
        # Here, since the command may have another option of the same name, such as --labels of train.
        names = {**read_names("--read"), "format": "--format"}
        raise type(error)(in_options(str(error), names)) from error


def read_data(paths: list[Path], format: str | None = None, read: list[str] | None = None) -> Dataset:
    """Read annotated files into one data set.

    Raises:
        ValueError: If some have words and others have texts.
    """
    from datasets import concatenate_datasets

    files = [read_file(path, format, read) for path in paths]
    contents = ["tokens" if "tokens" in file.column_names else "text" for file in files]
    for path, content in zip(paths, contents, strict=True):
        if content != contents[0]:
            raise ValueError(
                f"{paths[0]} has {contents[0]!r}, but {path} has {content!r}, so they cannot be combined: pass "
                "files that all have the same"
            )
    return concatenate_datasets(files)


def read_splits(
    paths: list[Path], format: str | None = None, read: list[str] | None = None
) -> Dataset | dict[str, Dataset]:
    """Read annotated files into one data set each, named after the files."""
    named = named_paths(paths)
    if isinstance(named, Path):
        return read_file(named, format, read)
    return {name: read_file(path, format, read) for name, path in named.items()}


def named_paths(paths: list[Path]) -> Path | dict[str, Path]:
    """Return a single path, or several by file name, without extensions if that is unambiguous.

    Raises:
        ValueError: If a path is given twice.
    """
    if len(paths) == 1:
        return paths[0]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise ValueError(f"{twice} is given twice: remove one of them")
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return dict(zip(names, paths, strict=True))


def read_texts(
    paths: list[Path],
    input_format: str | None,
    text_column: str | None,
    token_column: int | None,
    encoding: str | None,
) -> Iterator[Any]:
    """Read texts and lists of words from files or folders, as ``predict`` does."""
    from span_marker.bulk.input_files import find_files
    from span_marker.bulk.sources import read_items

    files = find_files(paths, input_format, token_column=token_column)
    return (item.content for item in read_items(files, text_column, encoding))


def load_model(path: str, device: str | None = None) -> SpanMarkerModel:
    """Load a model."""
    from span_marker import SpanMarkerModel
    from span_marker.preprocessing.processes import move_to_device

    return move_to_device(SpanMarkerModel.from_pretrained(path), device)


@contextmanager
def changed_model(path: str, output: Path | None, device: str | None = None) -> Iterator[SpanMarkerModel]:
    """Load a model, and save it after the ``with`` block, to its own folder or to another one.

    Raises:
        ValueError: If the model is from the Hub and ``output`` is None, or ``output`` contains another model.
    """
    if output is None and not Path(path).is_dir():
        raise ValueError(f"{path} is not a folder: pass --output with a folder to save the changed model in")
    target = output or Path(path)
    check_folder(target)
    if (target / "config.json").exists() and target.resolve() != Path(path).resolve():
        raise ValueError(f"{target} already has a model: pass an empty folder as --output, or omit it to change {path}")
    model = load_model(path, device)
    yield model
    model.save_pretrained(target)
    note(f"saved to {target}")


def check_file(path: Path) -> None:
    """Check that a file can be written, before any computation.

    Raises:
        ValueError: If it is a folder, or has the extension of a compressed file.
        FileNotFoundError: If there is no such folder.
    """
    from span_marker.data.text_files import check_target

    check_target(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: pass a file")


def check_folder(output: Path) -> None:
    """Check that a folder can be written, before any computation.

    Raises:
        ValueError: If it is a file.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file: pass a folder")


def read_secret(variable: str | None, path: Path | None) -> bytes | None:
    """Read a secret from an environment variable or a file, never from the command line, which others can see.

    Args:
        variable: The name of the variable, or None.
        path: The file, or None. A line end after the secret is removed.

    Returns:
        The secret; None if neither is passed.

    Raises:
        ValueError: If both are passed, or the variable is not set.
    """
    if variable is not None and path is not None:
        raise ValueError("--key-env and --key-file are mutually exclusive: pass only one")
    if path is not None:
        return path.read_bytes().rstrip(b"\r\n")
    if variable is not None and variable not in os.environ:
        raise ValueError(f"--key-env {variable}: this environment variable is not set")
    return None if variable is None else os.fsencode(os.environ[variable])


@contextmanager
def results_only() -> Iterator[None]:
    """Redirect the trainer's output to standard error, since standard output is for results."""
    with redirect_stdout(io.StringIO() if is_quiet() else sys.stderr):
        yield


def is_quiet() -> bool:
    """Whether to show only errors."""
    return logging.getLogger("span_marker").level >= logging.ERROR


def note(text: object) -> None:
    """Print a message to standard error, unless only errors are shown."""
    if not is_quiet():
        typer.echo(text, err=True)


def show(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
