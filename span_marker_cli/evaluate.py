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
    """Measure precision, recall and F1 of a model on annotated files, overall and per label."""
    import tempfile

    import torch
    from transformers import PrinterCallback

    from span_marker import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_eval_batch_size=batch_size,
            report_to="none",
            disable_tqdm=True,
            use_cpu=device == "cpu",
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = Trainer(load_model(model, device), arguments, eval_dataset=read_data(data, format, read))
        trainer.remove_callback(PrinterCallback)  # the metrics are shown below
        with results_only():
            metrics = trainer.evaluate()
    if as_json:
        show({name.removeprefix("eval_"): value for name, value in metrics.items()})
    else:
        typer.echo(table(metrics))


def table(metrics: dict[str, Any]) -> str:
    """Format the metrics of ``Trainer.evaluate`` as tables."""
    from span_marker.core.relation_metrics import BOUNDARIES, GIVEN, RELATION, metrics_of_labels
    from span_marker.core.tables import text_table

    labels, relations = metrics_of_labels(metrics, "eval_")
    tables = [_rows("label", "entities", labels, {"overall": "overall_", "macro": "macro_"}, metrics)]
    if f"eval_{RELATION}f1" in metrics:
        averages = {
            "overall": RELATION,
            "macro": f"{RELATION}macro_",
            "boundaries only": RELATION + BOUNDARIES,
            "between gold entities": RELATION + GIVEN,
        }
        tables.append(_rows("relation", "relations", relations, averages, metrics))
    return "\n\n".join(map(text_table, tables))


def _rows(
    first: str, last: str, labels: dict[str, Any], averages: dict[str, str], metrics: dict[str, Any]
) -> list[tuple[str, ...]]:
    """The rows of a table: one per label, then one per average, whose metrics have a prefix."""
    rows: list[tuple[str, ...]] = [(first, "precision", "recall", "F1", last)]
    rows += [(name, *_cells(value), f"{value['number']:,}") for name, value in labels.items()]
    for average, prefix in averages.items():
        figures = {name: metrics[f"eval_{prefix}{name}"] for name in ("precision", "recall", "f1")}
        rows.append((average, *_cells(figures), ""))
    return rows


def _cells(figures: dict[str, float]) -> list[str]:
    return [f"{figures[name]:.3f}" for name in ("precision", "recall", "f1")]
