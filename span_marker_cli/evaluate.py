"""``span-marker evaluate``."""

from typing import Any

import typer

from span_marker_cli.common import (
    AsJson,
    BatchSize,
    Data,
    Device,
    Format,
    Model,
    Read,
    load_model,
    read_data,
    results_only,
    show,
)


def evaluate(
    model: Model,
    data: Data,
    format: Format = None,
    read: Read = None,
    batch_size: BatchSize = 32,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure precision, recall and F1 of a model on annotated files, overall and of each label."""
    import tempfile

    from span_marker import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_eval_batch_size=batch_size,
            report_to="none",
            disable_tqdm=True,
            use_cpu=device == "cpu",
        )
        trainer = Trainer(load_model(model, device), arguments, eval_dataset=read_data(data, format, read))
        with results_only():
            metrics = trainer.evaluate()
    if as_json:
        show({name.removeprefix("eval_"): value for name, value in metrics.items()})
    else:
        typer.echo(table(metrics))


def table(metrics: dict[str, Any]) -> str:
    """Set out the metrics of ``Trainer.evaluate``."""
    from span_marker.core.tables import text_table

    rows: list[tuple[str, ...]] = [("label", "precision", "recall", "F1", "entities")]
    for name, value in sorted(metrics.items()):
        if isinstance(value, dict):
            rows.append((name.removeprefix("eval_"), *_cells(value), f"{value['number']:,}"))
    for average in ("overall", "macro"):
        figures = {name: metrics[f"eval_{average}_{name}"] for name in ("precision", "recall", "f1")}
        rows.append((average, *_cells(figures), ""))
    return text_table(rows)


def _cells(figures: dict[str, float]) -> list[str]:
    return [f"{figures[name]:.3f}" for name in ("precision", "recall", "f1")]
