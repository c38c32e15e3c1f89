"""``span-marker push``."""

from typing import Annotated, Any, Optional

import typer

from span_marker_cli.common import Model, load_model


def push(
    model: Model,
    repository: Annotated[str, typer.Argument(help="Name on the Hub, such as user/my-ner.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    message: Annotated[Optional[str], typer.Option("--message", help="Commit message.")] = None,
) -> None:
    """Publish a model on the Hub, with its card."""
    arguments: dict[str, Any] = {} if message is None else {"commit_message": message}
    typer.echo(load_model(model, "cpu").push_to_hub(repository, private=private, **arguments))
