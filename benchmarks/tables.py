"""Makes the tables of the documentation from ``benchmarks/results``: ``python benchmarks/tables.py``.

A table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``, where NAME is that of a table here.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGES = [
    HERE.parent / "README.md",
    *(HERE.parent / "docs" / f"{name}.md" for name in ("speed", "encoders", "entities")),
]


def speed_table(results: dict[str, Any]) -> str:
    """Compare both libraries at every setting: ``published → this (ratio)``."""
    settings = results["settings"]
    lines = [
        "| text/marker/entity limits | " + " | ".join(settings) + " |",
        "|---|" + "---|" * len(settings),
    ]

    def add(title: str, cell: Callable[[dict[str, Any]], str]) -> None:
        lines.append(f"| {title} | " + " | ".join(cell(row) for row in settings.values()) + " |")

    def rate(key: str, count: int) -> Callable[[dict[str, Any]], str]:
        def cell(row: dict[str, Any]) -> str:
            this, published = row[key]["this"], row[key]["published"]
            return f"{count / published:.1f} → {count / this:.1f} (**{published / this:.1f}x**)"

        return cell

    def seconds(key: str, unit: str = "s", factor: float = 1, digits: int = 2) -> Callable[[dict[str, Any]], str]:
        def cell(row: dict[str, Any]) -> str:
            this, published = row[key]["this"] * factor, row[key]["published"] * factor
            return f"{published:.{digits}f} → {this:.{digits}f} {unit} (**{published / this:.1f}x**)"

        return cell

    count = results["sentences"]
    add("prediction, sentences/s", rate("predict", count))
    add("prediction with document context, sentences/s", rate("documents", count // 4))
    add("one sentence", seconds("latency", "ms", 1000, 0))
    add("training step of 16 sentences", seconds("train"))
    add("preparing 1,600 sentences", seconds("prepare"))
    add(
        "peak memory of prediction, MiB",
        lambda row: f"{row['memory']['published']:.0f} → {row['memory']['this']:.0f}",
    )
    add("sentences with equal predictions", lambda row: f"{row['predict_equal']:.1%}")
    add("the same with document context", lambda row: f"{row['documents_equal']:.1%}")
    rates = results["gflops"]
    add(
        "share of the matrix rate",
        lambda row: f"{row['needed_gflop'] / row['predict']['this'] / rates['float32']:.0%}",
    )
    return "\n".join(lines)


def machine_line(results: dict[str, Any]) -> str:
    """Say in one line what the figures were measured on."""
    machine, rates = results["machine"], results["gflops"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    device = machine["device"]
    if device == "cpu":
        device = f"{machine['cores']} cores of an {machine['cpu']} ({', '.join(machine['instructions'])})"
    return (
        f"{machine['date']}, commit {machine['commit'][:7]}, {device}, Python {machine['python']}, {versions}; float32 "
        f"matrices of the encoder's shapes at {rates['float32']:.0f} GFLOP/s, bfloat16 ones at "
        f"{rates['bfloat16']:.0f}; token classification with the same encoder at "
        f"{results['token_classification']:.0f} sentences/s."
    )


def precision_table(results: dict[str, Any]) -> str:
    """Compare the number formats on a trained model."""
    lines = ["| | sentences/s | F1 | sentences with the same entities |", "|---|---|---|---|"]
    for name, row in results["formats"].items():
        lines.append(f"| {name} | {row['rate']:.1f} | {row['f1']:.4f} | {row['equal']:.1%} |")
    return "\n".join(lines)


def memory_table(results: dict[str, Any]) -> str:
    """Show how the peak memory depends on the number of sentences."""
    lines = ["| sentences | peak memory, MiB |", "|---|---|"]
    lines += [f"| {int(count):,} | {peak:.0f} |" for count, peak in results["mebibytes"].items()]
    return "\n".join(lines)


def encoders_table(results: dict[str, Any]) -> str:
    """Show what each family of encoders gets."""
    lines = [
        "| model type | engine | longest text | sentences/s | dense engine | memory, MiB | dense engine |",
        "|---|---|---|---|---|---|---|",
    ]
    for family, row in sorted(results["families"].items()):
        best, dense = row["auto"], row["dense"]
        limit = "any" if best["text_limit"] is None else f"{best['text_limit']:,}"
        lines.append(
            f"| `{family}` | {best['engine'].removeprefix('encode_')} | {limit} | {best['rate']:.1f} | "
            f"{dense['rate']:.1f} | {best['memory']:.0f} | {dense['memory']:.0f} |"
        )
    return "\n".join(lines)


def long_documents_table(results: dict[str, Any]) -> str:
    """Compare whole documents, read in windows, with sentences, in training and in reading."""
    lines = ["| trained on | read as | windows | precision | recall | F1 |", "|---|---|---|---|---|---|"]
    for trained_on, runs in results["runs"].items():
        for read_as, row in runs.items():
            lines.append(
                f"| {results['train'][trained_on]:,} {trained_on} | {row['texts']:,} {read_as} | {row['windows']:,} | "
                f"{row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} |"
            )
    return "\n".join(lines)


def book_table(results: dict[str, Any]) -> str:
    """Show what reading a whole book as one string takes."""
    lines = ["| words | windows | seconds | words/s | peak memory, MiB |", "|---|---|---|---|---|"]
    for row in results["book"]["lengths"].values():
        lines.append(
            f"| {row['words']:,} | {row['windows']:,} | {row['seconds']:.0f} | {row['words'] / row['seconds']:,.0f} | "
            f"{row['memory_before']:,.0f} → {row['memory']:,.0f} |"
        )
    return "\n".join(lines)


def nested_table(results: dict[str, Any]) -> str:
    """Compare training on all entities with training on the outermost ones: mean and standard error."""
    keys = ("precision", "recall", "f1", "macro_f1", "inner_recall", "outermost_recall")
    lines = [
        "| trained on | precision | recall | F1 | macro F1 | recall of inner entities | recall of outermost ones |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in results["runs"].items():
        cells = []
        for key in keys:
            values = [run[key] for run in runs]
            error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{error}")
        lines.append(f"| {'all entities' if name == 'nested' else 'outermost entities'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "speed": ("speed.json", speed_table),
    "speed-machine": ("speed.json", machine_line),
    "precision": ("precision.json", precision_table),
    "memory": ("memory.json", memory_table),
    "encoders": ("encoders.json", encoders_table),
    "long-documents": ("long_documents.json", long_documents_table),
    "book": ("long_documents.json", book_table),
    "nested": ("nested.json", nested_table),
}


def fill(page: str) -> str:
    """Fill all tables of a page from the results."""
    for name, (file, table) in TABLES.items():
        results = HERE / "results" / file
        if f"<!-- {name} -->" in page:
            body = table(json.loads(results.read_text(encoding="utf-8")))
            pattern = f"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
            page = re.sub(pattern, lambda match, body=body: f"{match[1]}{body}\n{match[2]}", page, flags=re.DOTALL)
    return page


def main() -> None:
    """Bring every page up to date."""
    for path in PAGES:
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
