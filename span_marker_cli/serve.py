"""``span-marker serve``."""

import os
import re
from pathlib import Path
from typing import Annotated, Optional

import typer

from span_marker_cli.common import Device, load_model


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Models: folders or names on the Hub. NAME=MODEL gives a model a name, by default the last part of "
            "its path. Requests that name no model use the first.",
            metavar="MODEL...",
        ),
    ],
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any free port.")
    ] = 8000,
    api_key: Annotated[
        Optional[str],
        typer.Option(
            "--api-key",
            envvar="SPAN_MARKER_API_KEY",
            help="Key that requests must send. Prefer the variable: other users can see the options of a process.",
            show_default="none",
        ),
    ] = None,
    max_requests: Annotated[
        int, typer.Option("--max-requests", min=1, help="Maximum number of concurrent requests.")
    ] = 1024,
    max_body: Annotated[int, typer.Option("--max-body", min=1, help="Maximum bytes per request.")] = 4 * 2**20,
    max_words: Annotated[int, typer.Option("--max-words", min=1, help="Maximum words per request.")] = 200_000,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Maximum seconds to answer a request.")] = 120.0,
    cors_origin: Annotated[
        Optional[list[str]],
        typer.Option("--cors-origin", help="Origin whose pages may send requests. Repeat for several."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Maximum sentences per batch.")] = 32,
    threads: Annotated[
        Optional[int],
        typer.Option("--threads", min=1, help="Number of threads of the model.", show_default="PyTorch's own"),
    ] = None,
    device: Device = None,
) -> None:
    """Serve models over HTTP, with a page to try them, at http://127.0.0.1:8000."""
    named = named_models(models)
    try:
        import fastapi  # noqa: F401
        import httptools  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError(f"serve needs {error.name}: install the extra span_marker[serve]") from error
    # Read by OpenMP: threads of the model that wait sleep, since those that answer requests need their cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from span_marker.serving import Limits, create_app, listen
    from span_marker.serving import serve as run

    limits = Limits(max_requests, max_body, max_words, timeout)
    app = create_app(
        {name: load_model(path, device) for name, path in named.items()},
        limits=limits,
        api_key=api_key,
        cors_origins=cors_origin or (),
        batch_size=batch_size,
        num_threads=threads,
    )
    with listen(host, port) as listener:
        address = f"[{host}]" if ":" in host else host
        typer.echo(f"{', '.join(named)}: http://{address}:{listener.getsockname()[1]}", err=True)
        if api_key is None and host not in ("127.0.0.1", "localhost", "::1"):
            typer.echo("warning: other machines may send requests, because no --api-key is set", err=True)
        run(app, listener)


def named_models(arguments: list[str]) -> dict[str, str]:
    """Find the names and the paths of models.

    Args:
        arguments: Paths, or names and paths as ``NAME=PATH``.

    Returns:
        The paths, by name.

    Raises:
        ValueError: If two have the same name.
    """
    named: dict[str, str] = {}
    for argument in arguments:
        match = None if Path(argument).exists() else re.fullmatch(r"([\w.-]+)=(.+)", argument)
        name, path = match.groups() if match else (Path(argument).resolve().name, argument)
        if name in named:
            raise ValueError(f"two models are named {name!r}: give one of them another name, as in news={argument}")
        named[name] = path
    return named
