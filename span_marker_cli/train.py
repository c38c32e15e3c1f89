"""``span-marker train``."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from span_marker_cli.common import Data, Format, Read, check_folder, note, read_data, results_only

SETTINGS = {"context_settings": {"ignore_unknown_options": True}}
"""Unknown options are fields of ``TrainingArguments``. They are passed on among the files."""


def train(
    data: Data,
    encoder: Annotated[Optional[str], typer.Option("--encoder", help="Encoder to fine-tune, or a checkpoint.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the trained model.")] = Path(
        "span-marker-model"
    ),
    dev: Annotated[
        Optional[list[Path]], typer.Option("--dev", help="Annotated file to evaluate on. Repeat for several.")
    ] = None,
    labels: Annotated[
        Optional[str],
        typer.Option("--labels", help="Comma-separated labels, including O.", show_default="from the data"),
    ] = None,
    epochs: Annotated[
        Optional[float], typer.Option("--epochs", help="Same as --num_train_epochs.", show_default="from the data")
    ] = None,
    model_max_length: Annotated[
        Optional[int], typer.Option("--model-max-length", help="Longest text, in tokens.", show_default="256")
    ] = None,
    entity_max_length: Annotated[
        Optional[int],
        typer.Option("--entity-max-length", help="Longest entity, in words.", show_default="from the data"),
    ] = None,
    format: Format = None,
    read: Read = None,
    config: Annotated[
        Optional[Path], typer.Option("--config", help="YAML file with any of these options by name.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the data and settings without training.")] = False,
) -> None:
    """Train a model on annotated files.

    Every field of transformers' TrainingArguments is also an option, such as --learning_rate 1e-4. Defaults depend on
    the data and the encoder, see docs/little_data.md.
    """
    from span_marker import Trainer
    from span_marker.training.recipes import parse_arguments, prepare_training, read_options

    given: dict[str, Any] = {
        "encoder": encoder,
        "dev": dev,
        "labels": labels.split(",") if labels else None,
        "num_train_epochs": epochs,
        "entity_max_length": entity_max_length,
        "model_max_length": model_max_length,
    }
    files, named = parse_arguments([str(word) for word in data])
    chosen = {} if config is None else read_options(config)
    chosen |= {**named, **{name: value for name, value in given.items() if value is not None}}
    output = Path(chosen.pop("output_dir", output))
    check_folder(output)
    plan = prepare_training(
        read_data([Path(file) for file in files], format, read),
        None if "dev" not in chosen else read_data([Path(path) for path in chosen.pop("dev")], format, read),
        output,
        **chosen,
    )
    note(plan)
    if dry_run:
        return
    with results_only():
        trainer = Trainer(plan.model, plan.arguments, plan.train, plan.dev)
        trainer.train()
        metrics = None if plan.dev is None else trainer.evaluate()
    if metrics is not None:
        from span_marker_cli.evaluate import table

        typer.echo(table(metrics))
    plan.model.save_pretrained(output)
    note(f"model saved to {output}")
