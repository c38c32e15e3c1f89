"""The command line application: all commands, and the handling of their errors."""

from __future__ import annotations

import atexit
import functools
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from span_marker_cli import (
    analyze,
    bench,
    calibrate,
    card,
    convert,
    evaluate,
    export,
    fit_filter,
    info,
    mcp,
    predict,
    push,
    redact,
    serve,
    suggest_limits,
    train,
    tune_thresholds,
    validate,
    version,
)
from span_marker_cli.wording import OptionFormatter, in_options, option_names

COMMANDS = (
    train,
    evaluate,
    analyze,
    predict,
    redact,
    serve,
    mcp,
    validate,
    convert,
    suggest_limits,
    tune_thresholds,
    calibrate,
    fit_filter,
    export,
    info,
    bench,
    card,
    push,
    version,
)
"""The modules of the commands, in the order of the help. Each has a function with the same name."""

ERRORS = (OSError, ValueError, TypeError, LookupError, ImportError, RuntimeError)
"""Errors that are shown on one line: those of the library for wrong input, and those of the operating system."""

INTERRUPTED = 128 + signal.SIGINT
"""The exit status of an interrupted command, as in shells."""

FORMATTER = OptionFormatter("%(levelname)s: %(message)s")

app = typer.Typer(
    name="span-marker",
    help="Named entity recognition with span markers: train, evaluate and use models, and convert annotated data.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        version.version()
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show debug messages and tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Same as the command version.")
    ] = False,
) -> None:
    """Named entity recognition with span markers: train, evaluate and use models, and convert annotated data."""
    # Read by transformers and huggingface_hub when they are imported.
    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error" if quiet else "warning")
    # Read by oneDNN, which would keep 1,024 kernels: memory would grow for tens of thousands of texts, since hardly
    # two batches have the same lengths. Within a batch, all layers have the same.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    # PyTorch and transformers come with 600,000 objects, among which Python would look for garbage again and again
    # while they are imported, and once more at the end: a fifth of the time of a short command.
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)
    level = logging.DEBUG if debug else logging.ERROR if quiet else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATTER)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("span_marker").setLevel(level)


def reporting(command: Callable[..., Any]) -> Callable[..., None]:
    """Make a command print one line to standard error instead of a traceback.

    Args:
        command: The function of the command. If it returns a number, that is the exit status.

    Returns:
        A function with the same arguments, which raises ``typer.Exit``.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        FORMATTER.names = option_names(command)
        try:
            status = command(*arguments, **options)
        except BrokenPipeError:
            raise  # whoever read the output has left: typer ends without a word
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            status = INTERRUPTED
        except ERRORS as error:
            if logging.getLogger("span_marker").level == logging.DEBUG:
                traceback.print_exc()
            else:
                text = str(error)
                if isinstance(error, OSError) and error.filename is not None:
                    text = f"{error.filename}: {error.strerror}"
                message = in_options(" ".join(text.split()), FORMATTER.names)
                typer.echo(f"error: {message or type(error).__name__}", err=True)
            status = 1
        raise typer.Exit(status or 0)

    return run


for module in COMMANDS:
    name = module.__name__.rpartition(".")[2]
    app.command(name.replace("_", "-"), **getattr(module, "SETTINGS", {}))(reporting(getattr(module, name)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        arguments: The command line. Defaults to that of the process.

    Raises:
        SystemExit: Always. The status is 0 on success, 1 for errors and for findings of ``validate``, and 2 for a wrong
            command line.
    """
    app(None if arguments is None else list(arguments))
