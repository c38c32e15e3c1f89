"""Case studies: SpanMarker, a plain token classifier and spaCy side by side, on the same text.

``python benchmarks/case_studies.py --models FOLDER`` trains three systems on the bundled corpus with every seed: the
quickstart's model, the same encoder as a token classifier, and a spaCy pipeline. ``--spacy NAME_OR_PATH`` adds a
pipeline that is trained already; all are compared with it on the labels that ``--spacy-labels`` gives it. They read
the test split and the snippets of ``case_studies.txt``. Each training is written down as soon as it is done, so that a
study that was stopped goes on where it stopped; ``python benchmarks/tables.py`` brings the documentation up to date.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import time
from pathlib import Path
from typing import Any

import spacy
import torch
from speed import machine
from studies import continue_study, write_json
from systems import BATCH_SIZE, SYSTEMS, Sentence, System, judge, load_spacy, quickstart, read_sentences, read_split
from tables import HERE, case_studies

from span_marker import ErrorReport, compare_reports
from span_marker.data.inline import parse_line

PRETRAINED = "spacy-pretrained"


def figures(report: ErrorReport) -> dict[str, float]:
    """Take the strict figures out of a report, and the F1 that forgives wrong boundaries."""
    strict = {name: getattr(report.overall, name).value for name in ("precision", "recall", "f1")}
    return {**strict, "overlap_f1": report.measures["type"].f1.value}


def measure(systems: dict[str, System], sentences: list[Sentence], rounds: int) -> dict[str, float]:
    """Measure how many sentences a second each system reads: the median of several times, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            started = time.perf_counter()
            system.read(sentences)
            seconds[name].append(time.perf_counter() - started)
    return {name: len(sentences) / statistics.median(of) for name, of in seconds.items()}


def compare(reference: ErrorReport, report: ErrorReport) -> dict[str, Any]:
    """Say how much better the second system is in F1, and how sure that is."""
    f1 = compare_reports(reference, report).overall.f1
    return {"difference": f1.difference.value, "interval": [f1.difference.low, f1.difference.high], "p": f1.p_value}


def read_snippets(systems: dict[str, System]) -> list[dict[str, Any]]:
    """Let all systems read the snippets: each span that is annotated or that one of them found, with its labels."""
    snippets = []
    for block in (HERE / "case_studies.txt").read_text(encoding="utf-8").split("# ")[1:]:
        title, *lines = block.splitlines()
        sentences = read_sentences(parse_line(line, title) for line in lines)
        found = {"annotated": [of.entities for of in sentences]}
        found |= {name: system.read(sentences) for name, system in systems.items()}
        spans: dict[tuple[int, int, int], dict[str, str]] = {}
        for name, of_sentences in found.items():
            for row, entities in enumerate(of_sentences):
                for label, start, end in entities:
                    spans.setdefault((row, start, end), {})[name] = label
        entities = [
            {"span": " ".join(sentences[row].words[start:end]), "labels": spans[row, start, end]}
            for row, start, end in sorted(spans)
        ]
        snippets.append({"title": title, "lines": lines, "entities": entities})
    return snippets


def run_systems(options: argparse.Namespace, results: dict[str, Any], test: list[Sentence]) -> None:
    """Train and judge what is missing, and write each down."""
    done = {(run["system"], run["seed"]) for run in results["runs"]}
    for seed in range(1, options.seeds + 1):
        for name, (train, load) in SYSTEMS.items():
            if (name, seed) in done:
                continue
            folder = options.models / f"{name}-{seed}"
            like = ["--encoder", options.encoder, "--folder", str(options.models / "trainer"), "--seed", str(seed)]
            like += ["--sentences", str(options.sentences)] if options.sentences else []
            trainer, data, _ = quickstart.prepare(quickstart.parse_options(like))
            run = {"system": name, "seed": seed, "commit": machine()["commit"], **train(trainer, data, options, folder)}
            found = load(folder).read(test)
            run |= {"all": figures(judge(test, found)), "shared": figures(judge(test, found, options.shared))}
            results["runs"].append(run)
            write_json(options.results, results)
            print(f"{name}, seed {seed}: F1 {run['all']['f1']:.4f}, {run['seconds']:.0f} s", flush=True)


def compare_systems(options: argparse.Namespace, results: dict[str, Any], test: list[Sentence]) -> None:
    """Compare the models of the first seed, and the one that was trained already, in all but their training."""
    folders = {name: options.models / f"{name}-1" for name in SYSTEMS}
    systems = {name: load(folders[name]) for name, (_, load) in SYSTEMS.items()}
    if options.spacy:
        folders[PRETRAINED] = options.models / PRETRAINED
        spacy.load(options.spacy).to_disk(folders[PRETRAINED])  # a package may hold more than the pipeline
        systems[PRETRAINED] = load_spacy(folders[PRETRAINED], options.labels)
    found = {name: system.read(test) for name, system in systems.items()}
    reports = {
        labels: {name: judge(test, of, options.shared if labels == "shared" else None) for name, of in found.items()}
        for labels in ("all", "shared")
    }
    rates = measure(systems, test, options.rounds)
    results["systems"] = {
        name: {
            "parameters": system.num_parameters,
            "bytes": sum(path.stat().st_size for path in folders[name].rglob("*") if path.is_file()),
            "sentences_per_second": rates[name],
            "shared": figures(reports["shared"][name]),
            "against": {
                labels: compare(of["span-marker"], of[name])
                for labels, of in reports.items()
                if name != "span-marker" and (labels == "shared" or name in SYSTEMS)
            },
        }
        for name, system in systems.items()
    }
    results["snippets"] = read_snippets(systems)
    write_json(options.results, results)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the study, or what is missing of it.

    Args:
        arguments: Command line arguments; those of the process by default.

    Returns:
        The results.

    Raises:
        SystemExit: If the file of the results is of a study with other settings.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder for the models")
    parser.add_argument("--encoder", help="name or path of an encoder (default: the quickstart's)")
    parser.add_argument(
        "--learning-rates", type=float, nargs="+", default=[1e-4, 2e-4, 5e-4], help="to classify tokens"
    )
    parser.add_argument("--spacy", help="name or path of a pipeline that is trained already")
    parser.add_argument("--spacy-labels", nargs="+", default=["PER=person", "LOC=place", "ORG=organization"])
    parser.add_argument("--spacy-steps", type=int, default=20_000, help="the most steps of a spaCy training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sentences", type=int, help="only this many of each split")
    parser.add_argument("--rounds", type=int, default=7, help="of measuring the speed")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "case_studies.json")
    options = parser.parse_args(arguments)
    options.encoder = options.encoder or str(quickstart.bundled_encoder())
    options.labels = dict(pair.split("=") for pair in options.spacy_labels)
    options.shared = sorted(set(options.labels.values()))

    test = read_split("test", options.sentences)
    this, meta = machine(), spacy.load(options.spacy).meta if options.spacy else None
    this["versions"]["spacy"] = importlib.metadata.version("spacy")
    settings = {
        "encoder": "/".join(Path(options.encoder).parts[-2:]),
        "test_sentences": len(test),
        "sentences": options.sentences,
        "learning_rates": options.learning_rates,
        "spacy_steps": options.spacy_steps,
        "spacy": meta and f"{meta['lang']}_{meta['name']} {meta['version']}",
        "spacy_labels": options.labels,
        "batch_size": BATCH_SIZE,
    }
    new = {"machine": this, "threads": torch.get_num_threads(), "settings": settings, "runs": []}
    results = continue_study(options.results, new)
    run_systems(options, results, test)
    compare_systems(options, results, test)
    print(case_studies(results))
    return results


if __name__ == "__main__":
    main()
