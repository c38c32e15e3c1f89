"""``span-marker version``."""

import typer


def version() -> None:
    """Print the versions of the library and its main dependencies."""
    import sys
    from importlib.metadata import version as version_of

    typer.echo(f"span_marker {version_of('span_marker')}")
    for name in ("torch", "transformers", "tokenizers", "datasets"):
        typer.echo(f"{name} {version_of(name)}")
    typer.echo(f"python {sys.version.split()[0]}")
