"""Makes the tables of the documentation from ``benchmarks/results``: ``python benchmarks/tables.py``.

A table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``, where NAME is a key of `TABLES`.
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
WITH_TABLES = (
    "speed",
    "encoders",
    "entities",
    "candidate_filter",
    "how_it_works",
    "case_studies",
    "redaction",
    "scale",
    "parallel",
    "small_models",
    "curation",
    "relations",
)
DATA_NAMES = {
    "conllpp": "CoNLL++",
    "wnut17": "WNUT17",
    "bundled": "bundled corpus",
    "conll04": "CoNLL04",
    "scierc": "SciERC",
}
PAGES = [HERE.parent / "README.md", *(HERE.parent / "docs" / f"{name}.md" for name in WITH_TABLES)]


class SettingsTable:
    """A table with a column for each setting of the limits."""

    def __init__(self, settings: dict[str, dict[str, Any]]) -> None:
        self.rows = list(settings.values())
        self.lines = ["| text/marker/entity limits | " + " | ".join(settings) + " |", "|---|" + "---|" * len(settings)]

    def add(self, title: str, cell: Callable[[dict[str, Any]], str]) -> None:
        """Add a line."""
        self.lines.append(f"| {title} | " + " | ".join(cell(row) for row in self.rows) + " |")

    def __str__(self) -> str:
        return "\n".join(self.lines)


def speed_table(results: dict[str, Any]) -> str:
    """Compare both libraries at every setting: ``published → this (ratio)``."""
    settings = results["settings"]
    table = SettingsTable(settings)

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
    table.add("prediction, sentences/s", rate("predict", count))
    table.add("prediction with document context, sentences/s", rate("documents", count // 4))
    table.add("one sentence", seconds("latency", "ms", 1000, 0))
    table.add("training step of 16 sentences", seconds("train"))
    table.add("preparing 1,600 sentences", seconds("prepare"))
    table.add(
        "peak memory of prediction, MiB",
        lambda row: f"{row['memory']['published']:.0f} → {row['memory']['this']:.0f}",
    )
    table.add("sentences with equal predictions", lambda row: f"{row['predict_equal']:.1%}")
    table.add("the same with document context", lambda row: f"{row['documents_equal']:.1%}")
    rates = results["gflops"]
    table.add(
        "share of the matrix rate",
        lambda row: f"{row['needed_gflop'] / row['predict']['this'] / rates['float32']:.0%}",
    )
    return str(table)


def speed_summary(speed: dict[str, Any], span_filter: dict[str, Any]) -> str:
    """Give the ratios of `speed_table` and `span_filter_speed_table` that matter most, and nothing else."""
    table = SettingsTable({name: row | span_filter["settings"][name] for name, row in speed["settings"].items()})

    def ratio(key: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: f"{row[key]['published'] / row[key]['this']:.1f}x"

    table.add("prediction, all candidates", ratio("predict"))
    table.add(
        "prediction, candidate filter", lambda row: f"{row['rates']['filtered'] / row['rates']['published']:.1f}x"
    )
    table.add("training step, all candidates", ratio("train"))
    return str(table)


def describe(machine: dict[str, Any]) -> str:
    """Say when, with what and on what something was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    device = machine["device"]
    if device == "cpu":
        device = f"{machine['cores']} cores of an {machine['cpu']} ({', '.join(machine['instructions'])})"
    return f"{machine['date']}, commit {machine['commit'][:7]}, {device}, Python {machine['python']}, {versions}"


def machine_line(results: dict[str, Any]) -> str:
    """Say in one line what the figures were measured on."""
    machine, rates = results["machine"], results["gflops"]
    return (
        f"{describe(machine)}; float32 matrices of the encoder's shapes at {rates['float32']:.0f} GFLOP/s, "
        f"bfloat16 ones at {rates['bfloat16']:.0f}; token classification with the same encoder at "
        f"{results['token_classification']:.0f} sentences/s."
    )


def precision_table(results: dict[str, Any]) -> str:
    """Compare number formats and runtimes on a trained model with the first of them."""
    lines = [
        "| | batches of 32 | one sentence | F1 | difference, 95% interval | sentences with the same entities |",
        "|---|---|---|---|---|---|",
    ]
    first = next(iter(results["formats"].values()))
    for name, row in results["formats"].items():
        rates = f"{row['rate'] / first['rate']:.2f}x | {first['milliseconds'] / row['milliseconds']:.2f}x"
        change, low, high = row["difference"]
        interval = f"{change:+.4f}, {low:+.4f} to {high:+.4f}" if row is not first else ""
        lines.append(f"| {name} | {rates} | {row['f1']:.4f} | {interval} | {row['equal']:.1%} |")
    return "\n".join(lines)


def precision_machine(results: dict[str, Any]) -> str:
    """Say in one line what `precision_table` was measured on."""
    machine, rates, first = results["machine"], results["gflops"], next(iter(results["formats"].values()))
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    return (
        f"{describe(machine)}; {threads}; float32 matrices of the encoder's shapes at {rates['float32']:.0f} GFLOP/s, "
        f"bfloat16 ones at {rates['bfloat16']:.0f}. The first row reads {first['rate']:.0f} sentences/s, and one "
        f"sentence in {first['milliseconds']:.0f} ms; {results['sentences']} sentences."
    )


def memory_table(results: dict[str, Any]) -> str:
    """Show how the peak memory depends on the number of sentences."""
    lines = ["| sentences | entities | seconds | peak memory, MiB |", "|---|---|---|---|"]
    for row in results["stream"]:
        counts = f"{row['sentences']:,} | {row['entities']:,}"
        lines.append(f"| {counts} | {row['seconds']:,.0f} | {row['mebibytes']:.0f} |")
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
        cells = [mean_and_error([run[key] for run in runs], ".3f") for key in keys]
        lines.append(f"| {'all entities' if name == 'nested' else 'outermost entities'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_and_error(values: list[float], spec: str) -> str:
    """Write a mean, and its standard error if there are several values."""
    error = f" ± {standard_error(values):{spec}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{spec}}{error}"


def standard_error(values: list[float]) -> float:
    """Compute the standard error of the mean of several values."""
    return statistics.stdev(values) / math.sqrt(len(values))


TRAINED = {
    "exact": "all candidates; filter fitted afterwards",
    "joint": "all candidates, filter beside them",
    "filtered": "1 candidate per word",
    "filtered-half": "1 candidate for every two words",
}
"""Ways to train of `span_filter.py`."""


def span_filter_table(results: dict[str, Any]) -> str:
    """Compare ways to train in F1 with and without the filter: mean and standard error."""
    lines = [
        "| trained on | seeds | F1 with filter | F1 with all candidates | candidates kept | entities found again |",
        "|---|---|---|---|---|---|",
    ]
    for way, title in TRAINED.items():
        runs = [run["evaluation"] for run in results["runs"] if run["training"]["way"] == way]
        if runs:
            cells = [str(len(runs))]
            cells += [mean_and_error([run[key]["f1"] for run in runs], ".4f") for key in ("filtered", "exact")]
            cells += [
                mean_and_error([100 * run[key] for run in runs], ".2f") + " %"
                for key in ("candidates_kept", "entities_found_again")
            ]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def span_filter_trials_table(results: dict[str, Any]) -> str:
    """List ways to train that were tried: F1 with and without the filter."""
    lines = [
        "| markers in training go to | seeds | F1 with filter | F1 with all candidates | candidates kept |",
        "|---|---|---|---|---|",
    ]
    for title in dict.fromkeys(trial["trained_on"] for trial in results["trials"]):
        trials = [trial for trial in results["trials"] if trial["trained_on"] == title]
        seeds = ", ".join(str(trial["seed"]) for trial in trials)
        cells = [mean_and_error([trial[key] for trial in trials], ".4f") for key in ("f1", "exact_f1")]
        kept = mean_and_error([100 * trial["candidates_kept"] for trial in trials], ".1f")
        lines.append(f"| {title} | {seeds} | {' | '.join(cells)} | {kept} % |")
    return "\n".join(lines)


def span_filter_speed_table(results: dict[str, Any]) -> str:
    """Compare prediction with a filter to everything else, in sentences per second."""
    table = SettingsTable(results["settings"])

    def rates(task: str, other: str) -> Callable[[dict[str, Any]], str]:
        def cell(row: dict[str, Any]) -> str:
            one, two = row["rates"][task], row["rates"][other]
            return f"{two:.1f} → {one:.1f} (**{one / two:.{1 if one > two else 2}f}x**)"

        return cell

    table.add("published → all candidates", rates("exact", "published"))
    table.add("published → filter", rates("filtered", "published"))
    table.add("token classification → filter, 1,280 sentences", rates("filtered, many", "token classification, many"))
    table.add("candidates kept", lambda row: f"{row['candidates_kept']:.1%}")
    table.add(
        "sentences with the predictions of the published library, all candidates",
        lambda row: f"{row['exact_equal']:.1%}",
    )
    table.add("the same with the filter", lambda row: f"{row['filtered_equal']:.1%}")
    return str(table)


def span_filter_steps(results: dict[str, Any]) -> str:
    """Compare the speed of training steps."""
    seconds = results["steps"]["seconds_per_step"]
    lines = ["| markers go to | seconds per step | steps per second, against exact training |", "|---|---|---|"]
    for way, value in seconds.items():
        lines.append(f"| {TRAINED[way].split(';')[0]} | {value:.2f} | {seconds['exact'] / value:.2f}x |")
    return "\n".join(lines)


def ablations_table(results: dict[str, Any]) -> str:
    """Show mean F1 and standard error of each variant, and its difference from the unchanged model."""
    lines = [
        "| variant | F1 | difference | 95% over sentences | p over sentences | p over seeds |",
        "|---|---|---|---|---|---|",
    ]
    for variant, row in results["comparisons"].items():
        f1 = mean_and_error([run["f1"] for run in results["runs"] if run["variant"] == variant], ".3f")
        cells = [
            f"{row['difference']:+.3f}",
            "{:+.3f} to {:+.3f}".format(*row["interval"]),
            f"{row['p_sentences']:.4f}",
        ]
        cells.append("" if row["p_seeds"] is None else f"{row['p_seeds']:.3f}")
        lines.append(
            " | ".join([f"| {variant.replace('-', ' ')}", f1, *([""] * 4 if variant == "baseline" else cells)]) + " |"
        )
    return "\n".join(lines)


def accuracy_table(summary: dict[str, Any]) -> str:
    """Show mean F1 and standard error of each system by number of sentences, and its difference from the reference."""
    lines = []
    for name, rows in summary["data"].items():
        budgets = list(dict.fromkeys(row["budget"] for row in rows))
        lines += ["", f"| {name} | " + " | ".join(budgets) + " |", "|---|" + "---|" * len(budgets)]
        for system in dict.fromkeys(row["system"] for row in rows):
            cells = {row["budget"]: accuracy_cell(row) for row in rows if row["system"] == system}
            lines.append(f"| {system} | " + " | ".join(cells.get(budget, "") for budget in budgets) + " |")
    lines += ["", f"F1, and the difference from {summary['reference']} (p over seeds, p over sentences)."]
    return "\n".join(lines[1:])


def accuracy_cell(row: dict[str, Any]) -> str:
    """Write what a system reached, and how it compares."""
    cell = mean_and_error(row["f1"], ".3f")
    if "against" not in row:
        return cell
    against = row["against"]
    over_seeds = "" if against["p_seeds"] is None else f"{against['p_seeds']:.3f}, "
    return f"{cell}; {against['difference']:+.3f} ({over_seeds}{against['p_sentences']:.4f})"


RELATION_MEASURES = {
    "entities": "entities",
    "relations": "relations",
    "gold": "relations of gold entities",
}
"""The measures of `relations.py`, and what they are called."""


def relations_table(summary: dict[str, Any]) -> str:
    """Show the mean F1 of each system by number of sentences, its training, and how fast systems read."""
    lines = []
    for name, rows in summary["data"].items():
        columns = [DATA_NAMES.get(name, name), *RELATION_MEASURES.values(), "learning rate", "training, s"]
        lines += ["", f"| {' | '.join(columns)} |"]
        lines.append("|---" * 6 + "|")
        for row in rows:
            cells = [relation_cell(row, measure) for measure in RELATION_MEASURES]
            cells += [f"{row['learning_rate']:g}", f"{row['seconds']:.0f}"]
            lines.append(f"| {row['budget']}, {row['system']} | {' | '.join(cells)} |")
    lines += ["", f"F1, and the difference from {summary['reference']} (p over seeds, p over sentences)."]
    for name, times in summary["times"].items():
        lines += ["", f"| {DATA_NAMES.get(name, name)} | sentences/s |", "|---|---|"]
        lines += [f"| {system} | {rate:.1f} |" for system, rate in times["sentences_per_second"].items()]
        lines += ["", f"({describe(times['machine'])}; threads of torch: {times['threads']}.)"]
    return "\n".join(lines[1:])


def relation_cell(row: dict[str, Any], measure: str) -> str:
    """Write what a system reached in a measure, and how it compares; nothing for a measure that it lacks."""
    if measure not in row["f1"]:
        return ""
    return accuracy_cell(
        {"f1": row["f1"][measure], **({"against": found} if (found := row["against"].get(measure)) else {})}
    )


def case_studies(results: dict[str, Any]) -> str:
    """Compare systems on the same text: figures, what they cost, and what each reads in the snippets."""
    systems, runs = results["systems"], {name: [] for name in results["systems"]}
    for run in results["runs"]:
        runs[run["system"]].append(run)
    lines = ["| | precision | recall | F1 | difference in F1 | p |", "|---|---|---|---|---|---|"]
    for labels, title in (("all", "all labels"), ("shared", "shared labels")):
        for name, system in systems.items():
            if found := [run[labels] for run in runs[name] or [system] if labels in run]:
                cells = [mean_and_error([one[key] for one in found], ".3f") for key in ("precision", "recall", "f1")]
                if against := system["against"].get(labels):
                    low, high = against["interval"]
                    cells += [f"{against['difference']:+.3f} ({low:+.3f} to {high:+.3f})", f"{against['p']:.4f}"]
                lines.append(f"| {name}, {title} | " + " | ".join(cells + [""] * (5 - len(cells))) + " |")
    lines += ["", "| | F1 of shared labels, any overlap | sentences/s | MB | million parameters | training, s |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, system in systems.items():
        overlap = mean_and_error([run["shared"]["overlap_f1"] for run in runs[name] or [system]], ".3f")
        seconds = mean_and_error([run["seconds"] for run in runs[name]], ".0f") if runs[name] else ""
        cost = f"{system['sentences_per_second']:.0f} | {system['bytes'] / 1e6:.1f} | {system['parameters'] / 1e6:.1f}"
        lines.append(f"| {name} | {overlap} | {cost} | {seconds} |")
    lines += ["", f"({describe(results['machine'])}; threads of torch: {results['threads']}.)"]
    names = ["annotated", *systems]
    for snippet in results["snippets"]:
        lines += ["", f"### {snippet['title']}", "", "```text", *snippet["lines"], "```", ""]
        lines += ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        for entity in snippet["entities"]:
            lines.append(f"| {entity['span']} | " + " | ".join(entity["labels"].get(name, "") for name in names) + " |")
    return "\n".join(lines)


def small_model_table(results: dict[str, Any]) -> str:
    """Compare a model in all runtimes with a small one and with other tools: F1 on the test split, and speed."""
    threads = results["threads"]
    lines = ["| | F1 | sentences/s | core hours per million | one sentence, ms | MB |", "|---|---|---|---|---|---|"]
    for name, system in results["systems"].items():
        rate = system["sentences_per_second"]
        cells = [mean_and_error(system["f1"], ".3f"), f"{rate:.0f}", f"{threads * 1e6 / rate / 3600:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {system['milliseconds']:.1f} | {system['bytes'] / 1e6:.1f} |")
    on = "1 thread" if threads == 1 else f"{threads} threads"
    return "\n".join([*lines, "", f"({describe(results['machine'])}; {on}.)"])


def planted_secrets_table(results: dict[str, Any]) -> str:
    """Show by kind which share of planted secrets is found, and what else is."""
    readers = results["readers"]
    lines = ["| secret | mentions | " + " | ".join(readers) + " |", "|---|---|" + "---|" * len(readers)]

    def add(title: str, count: str, cell: Callable[[dict[str, Any]], str]) -> None:
        lines.append(f"| {title} | {count} | " + " | ".join(map(cell, readers.values())) + " |")

    for kind, row in readers["model"]["kinds"].items():
        add(kind, f"{row['mentions']:,}", lambda reader, kind=kind: f"{reader['kinds'][kind]['mention_recall']:.1%}")
    add("all, characters", "", lambda reader: f"{reader['kinds']['all']['character_recall']:.1%}")
    add("documents with nothing left", "", lambda reader: f"{reader['documents_without_rest']:.1%}")
    add("found, but no secret", "", lambda reader: f"{sum(reader['false_positives'].values()):,}")
    return "\n".join(lines)


def cost_check_table(results: dict[str, Any]) -> str:
    """Compare the predicted time of documents with the measured one."""
    lines = ["| words | tokens | batch | candidates | GFLOP | MB | measured, ms | predicted, ms | error |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for row in results["checked"]:
        cells = [f"{row['words']}", f"{row['tokens']:.0f}", f"{row['batch_size']}", filter_name(row["per_word"])]
        cells += [f"{row[name]:.1f}" for name in ("gflop", "megabytes", "milliseconds", "predicted")]
        lines.append(f"| {' | '.join(cells)} | {row['predicted'] / row['milliseconds'] - 1:+.0%} |")
    return "\n".join(lines)


def cost_host_table(results: dict[str, Any]) -> str:
    """Show what everything but the model takes, and how fast a model would have to be to wait for it."""
    lines = [
        "| words | batch | candidates | tokenizer, texts/s | all but the model, texts/s | share | even at, GFLOP/s |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in results["checked"]:
        cells = [f"{row['words']}", f"{row['batch_size']}", filter_name(row["per_word"])]
        cells += [f"{1e3 / row['tokenizing']:,.0f}", f"{1e3 / row['host']:,.0f}"]
        cells += [f"{row['host'] / row['milliseconds']:.1%}", f"{1e3 * row['gflop'] / row['host']:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cost_table(results: dict[str, Any], price_per_core_hour: float | None = None) -> str:
    """Show what many documents cost: core hours, or their price if a core hour has one, and bytes."""
    counts = (10**6, 10**8, 10**9)
    unit = "core hours" if price_per_core_hour is None else f"price at {price_per_core_hour:g} per core hour"
    head = ["documents", "candidates", "GFLOP each", *(f"{unit}, 10^{len(str(count)) - 1}" for count in counts)]
    lines = [f"| {' | '.join([*head, 'read, written per 10^6'])} |", "|---" * (len(head) + 1) + "|"]
    for row in results["documents"]:
        name = f"{row['kind']}: {row['sentences']} x {row['words']} words"
        hours = [row["seconds"] * count / 3600 * (price_per_core_hour or 1) for count in counts]
        cells = [name, filter_name(row["per_word"]), *(three_digits(value) for value in (row["gflop"], *hours))]
        sizes = [f"{row[name] * 1e6 / 1e9:.2g} GB" for name in ("bytes_read", "bytes_written")]
        lines.append(f"| {' | '.join([*cells, ', '.join(sizes)])} |")
    return "\n".join(lines)


def threads_table(results: dict[str, Any]) -> str:
    """Compare ways to use all threads with one thread, on an idle machine and beside busy loops."""
    count = results["settings"]["threads"]
    parts = results["parts"]
    first, *others = parts["idle"]
    lines = [f"| {count} threads | idle machine | a busy loop on each core |", "|---|---|---|"]
    for name in others:
        cells = (f"{parts[part][name] / parts[part][first]:.2f}" for part in ("idle", "busy"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    rates = " and ".join(f"{parts[part][first]:.0f}" for part in ("idle", "busy"))
    return "\n".join([*lines, "", f"One thread reads {rates} sentences per second. {describe(results['machine'])}."])


def active_learning_table(results: dict[str, Any]) -> str:
    """Compare suggested sentences with more random ones: F1, mean and standard error, and what was annotated."""
    lines = ["| data | sentences | F1 | words | entities |", "|---|---|---|---|---|"]
    steps: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for key, run in results["runs"].items():
        name, strategy, _ = key.split("/")
        for place, step in enumerate(run):
            chosen = "random" if strategy == "random" or not place else "suggested"
            steps.setdefault((name, step["sentences"], chosen), []).append(step)
    names = list(dict.fromkeys(name for name, _, _ in steps))
    for (name, count, chosen), runs in sorted(steps.items(), key=lambda item: (names.index(item[0][0]), item[0][1])):
        cells = [f"{statistics.mean(step[unit] for step in runs):,.0f}" for unit in ("words", "entities")]
        f1 = mean_and_error([step["f1"] for step in runs], ".3f")
        lines.append(f"| {DATA_NAMES.get(name, name)} | {count:,} {chosen} | {f1} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"({describe(results['machine'])}.)"])


def label_errors_table(results: dict[str, Any]) -> str:
    """Compare rankings of suspects: the share of the first ones that are known errors, mean and standard error."""
    depths = list(results["rankings"]["random"][0]["annotations"])
    lines = [f"| | {' | '.join(f'first {depth}' for depth in depths)} |", "|---" * (len(depths) + 1) + "|"]
    for name, runs in results["rankings"].items():
        cells = [mean_and_error([100 * run["annotations"][depth] for run in runs], ".1f") + " %" for depth in depths]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"({describe(results['machine'])}.)"])


def label_error_kinds_table(results: dict[str, Any]) -> str:
    """Compare rankings by kinds of errors: recall and precision among as many suspects as there are errors."""
    ours, others = (results["rankings"][name][0] for name in ("find_label_errors", "cleanlab"))
    lines = ["| kind | found | found by cleanlab | suspects of this kind that are errors |", "|---|---|---|---|"]
    for kind, share in ours["recall"].items():
        shares = (share, others["recall"][kind], ours["precision by kind"][kind])
        lines.append(f"| `{kind}` | {' | '.join(f'{100 * value:.0f} %' for value in shares)} |")
    return "\n".join([*lines, "", f"({describe(results['machine'])}.)"])


def three_digits(value: float) -> str:
    """Round a figure to three digits."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def filter_name(per_word: float | None) -> str:
    """Say which candidates get markers."""
    return "all" if per_word is None else f"{per_word:g} per word"


TABLES: dict[str, tuple[str, Callable[..., str]]] = {
    "speed-summary": ("speed.json span_filter.json", speed_summary),
    "speed": ("speed.json", speed_table),
    "speed-machine": ("speed.json", machine_line),
    "precision": ("precision.json", precision_table),
    "precision-machine": ("precision.json", precision_machine),
    "precision-conllpp": ("precision_conllpp.json", precision_table),
    "precision-conllpp-machine": ("precision_conllpp.json", precision_machine),
    "memory": ("memory.json", memory_table),
    "encoders": ("encoders.json", encoders_table),
    "long-documents": ("long_documents.json", long_documents_table),
    "book": ("long_documents.json", book_table),
    "nested": ("nested.json", nested_table),
    "span-filter": ("span_filter.json", span_filter_table),
    "span-filter-trials": ("span_filter_trials.json", span_filter_trials_table),
    "span-filter-speed": ("span_filter.json", span_filter_speed_table),
    "span-filter-machine": ("span_filter.json", lambda results: f"{describe(results['machine'])}."),
    "span-filter-steps": ("span_filter.json", span_filter_steps),
    "ablations": ("ablations.json", ablations_table),
    "ablations-machine": ("ablations.json", lambda results: f"{describe(results['machine'])}."),
    "accuracy": ("accuracy/summary.json", accuracy_table),
    "relations": ("relations/summary.json", relations_table),
    "small-model": ("small_model.json", small_model_table),
    "planted-secrets": ("planted_secrets.json", planted_secrets_table),
    "cost-check": ("cost.json", cost_check_table),
    "cost-host": ("cost.json", cost_host_table),
    "cost": ("cost.json", cost_table),
    "cost-machine": (
        "cost.json",
        lambda results: f"{describe(results['machine'])}; matrices at {results['gflops']:.0f} GFLOP/s per core.",
    ),
    "case-studies": ("case_studies.json", case_studies),
    "threads": ("threads.json", threads_table),
    "active-learning": ("active_learning.json", active_learning_table),
    "label-errors": ("label_errors.json", label_errors_table),
    "label-error-kinds": ("label_errors_synthetic.json", label_error_kinds_table),
}
"""For each table, the files of results that it is made from, separated by spaces, and the function that makes it."""


def fill(page: str) -> str:
    """Fill all tables of a page from the results."""
    for name, (files, table) in TABLES.items():
        if f"<!-- {name} -->" in page:
            body = table(*(json.loads((HERE / "results" / file).read_text(encoding="utf-8")) for file in files.split()))
            pattern = f"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
            page = re.sub(pattern, lambda match, body=body: f"{match[1]}{body}\n{match[2]}", page, flags=re.DOTALL)
    return page


def main() -> None:
    """Bring every page up to date."""
    for path in PAGES:
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
