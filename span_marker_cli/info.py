"""``span-marker info``."""

from pathlib import Path
from typing import Any

import typer

from span_marker_cli.common import AsJson, Model, load_model, show


def info(model: Model, as_json: AsJson = False) -> None:
    """Show a model's encoder, labels, limits, filter, thresholds and size."""
    loaded = load_model(model, "cpu")
    config = loaded.config
    is_whole = loaded.backend == "torch"
    facts = {
        "model": model,
        "encoder": config.encoder.model_type,
        "backend": loaded.backend,
        "parameters": loaded.num_parameters() if is_whole else None,  # graphs do not say
        "megabytes": round((loaded.get_memory_footprint() if is_whole else _graph_bytes(model)) / 1e6, 1),
        "data type": str(loaded.dtype).removeprefix("torch."),
        "labels": [label for index, label in enumerate(config.classes) if index != config.outside_id],
        "relation labels": (config.relation_labels or [])[1:] or None,
        "labels of rules": loaded.rules.labels if loaded.rules else None,
        "model_max_length (tokens)": loaded.max_text_length,
        "entity_max_length (words)": config.entity_max_length,
        "decoding": config.decoding,
        "candidate filter": None if loaded.span_filter is None else str(config.span_filter),
        "predicts with all candidates": not loaded.uses_filter(),
        "pair filter": None if config.pair_filter is None else str(config.pair_filter),
        "thresholds": config.thresholds,
        "relation_thresholds": config.relation_thresholds,
        "calibration_temperature": config.calibration_temperature,
        "span_marker version": config.span_marker_version,
    }
    if as_json:
        show(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {_text(value)}")


def _graph_bytes(model: str) -> int:
    """The total size of the graphs of an exported model and their weights."""
    from span_marker.graphs.files import FILES, FOLDER, PAIR_GRAPH

    return sum(file.stat().st_size for name in (*FILES, PAIR_GRAPH) if (file := Path(model, FOLDER, name)).is_file())


def _text(value: Any) -> str:
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else ((name,) for name in value)
        return ", ".join(" ".join(map(str, item)) for item in items)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)
