"""A small model beside the model that taught it and spaCy: F1 and speed on the text of the case studies, on one thread.

``python benchmarks/small_model.py --teacher CHECKPOINT --models FOLDER_TO_MAKE`` takes three layers of a trained model,
prunes its vocabulary, teaches it with every seed, exports it, and quantizes it. It learns from the train split, from
what the teacher says about the same sentences with other names, and with ``--texts`` about more text in CoNLL format,
whose annotations nobody reads; ``--spacy FOLDER`` adds the rate of a spaCy pipeline. Everything is chosen on the
dev split; the test split is read at the end. Each training is written down as soon as it is done, so that a study that
was stopped goes on where it stopped. Set ``OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from case_studies import measure
from datasets import Dataset
from precision import short_training, spend_time_on_learning
from speed import machine, read_conll
from studies import continue_study, spread, write_json
from systems import Sentence, System, bundled_corpus, judge, load_spacy, read_split, read_with
from tables import HERE, small_model_table
from transformers import set_seed

from span_marker import SpanMarkerModel
from span_marker.compression import distill, prune_vocabulary, shrink
from span_marker.export import export_onnx, quantize
from span_marker.runtime import ExportedModel

NUM_CALIBRATION = 400
"""Training sentences on which static quantization measures ranges."""

RECALL = 0.98
"""Share of the entities that the candidate filter must keep. The dev split is too small to be sure of more."""

TEACHER, STUDENT = "teacher", "student"

WAYS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "PyTorch, float32": ("torch", SpanMarkerModel.from_pretrained),
    "ONNX Runtime, float32": ("onnx", ExportedModel.from_pretrained),
    "ONNX Runtime, int8, dynamic": ("dynamic", ExportedModel.from_pretrained),
    "ONNX Runtime, int8, static": ("static", ExportedModel.from_pretrained),
}
"""How a model runs: what its folder is called, and how it is loaded."""


def read_texts(paths: list[Path], count: int) -> list[list[str]]:
    """Read some sentences of files in CoNLL format at even distances, without their annotations."""
    sentences = [words for path in paths for words in read_conll(path)[0]]
    return [sentences[index] for index in spread(len(sentences), count)]


def with_other_names(data: Dataset, count: int, seed: int) -> list[list[str]]:
    """Write some sentences again, with other entities of the same labels from the same data."""
    rng, names = random.Random(seed), dict[str, list[list[str]]]()
    for row in data:
        for entity in row["entities"]:
            names.setdefault(entity["label"], []).append(row["tokens"][entity["start"] : entity["end"]])
    sentences = []
    for index in rng.sample(range(len(data)), min(count, len(data))):
        words = list(data[index]["tokens"])
        for entity in sorted(data[index]["entities"], key=lambda entity: -entity["start"]):
            words[entity["start"] : entity["end"]] = rng.choice(names[entity["label"]])
        sentences.append(words)
    return sentences


def teach(options: argparse.Namespace, seed: int, texts: list[list[str]], folder: Path) -> None:
    """Make a small model of the teacher, and save it."""
    train, dev = (bundled_corpus.read_words(split).take(options.sentences or 10**9) for split in ("train", "dev"))
    teacher = SpanMarkerModel.from_pretrained(options.teacher)
    texts = [*texts, *with_other_names(train, options.num_renamed, seed)]
    set_seed(seed)
    student = prune_vocabulary(shrink(teacher, options.layers), [*train["tokens"], *texts])
    spend_time_on_learning(student)
    student.get_input_embeddings().requires_grad_(True)  # they are most of what so few layers know
    student.config.candidates_per_word = options.candidates_per_word
    trainer = folder.parent / "trainer"
    args = short_training(trainer, seed, options.epochs, options.batch_size, options.learning_rate)
    distill(teacher, student, texts, args, labeled=train, eval_dataset=dev)
    if options.sentences is None:  # a few have too few entities
        student.tune_span_filter(dev, recall=RECALL)
    student.cpu().save_pretrained(folder)


def export(checkpoint: Path, folders: dict[str, Path], calibration: list[list[str]], dev: Dataset) -> None:
    """Export a model, and quantize it in both ways."""
    export_onnx(SpanMarkerModel.from_pretrained(checkpoint), folders["onnx"])
    for mode in ("dynamic", "static"):
        texts = calibration if mode == "static" else None
        quantize(folders["onnx"], folders[mode], dev, mode=mode, calibration=texts)  # type: ignore[arg-type]


def load(name: str, folder: Path) -> System:
    """Load a model to run in one of `WAYS`. Nobody asks how many parameters it has."""
    return System(read_with(WAYS[name][1](folder)), 0)


def latency(system: System, sentences: list[Sentence]) -> float:
    """Milliseconds that a sentence alone takes, the median."""
    seconds = []
    for sentence in sentences:
        started = time.perf_counter()
        system.read([sentence])
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def run_seeds(options: argparse.Namespace, results: dict[str, Any], texts: list[list[str]]) -> None:
    """Teach and export with the seeds that are missing, and write down F1 on the dev split."""
    train, dev = (bundled_corpus.read_words(split).take(options.sentences or 10**9) for split in ("train", "dev"))
    calibration = [train["tokens"][index] for index in spread(len(train), NUM_CALIBRATION)]
    sentences = read_split("dev", options.sentences)
    done = {run["seed"] for run in results["runs"]}
    for seed in range(1, options.seeds + 1):
        if seed in done:
            continue
        folders = {kind: options.models / f"{STUDENT}-{seed}-{kind}" for kind, _ in WAYS.values()}
        started, processor_started = time.perf_counter(), time.process_time()
        teach(options, seed, texts, folders["torch"])
        seconds = {
            "seconds": time.perf_counter() - started,
            "processor_seconds": time.process_time() - processor_started,
        }
        export(folders["torch"], folders, calibration, dev)
        f1 = {
            name: judge(sentences, load(name, folders[kind]).read(sentences)).overall.f1.value
            for name, (kind, _) in WAYS.items()
        }
        results["runs"].append({"seed": seed, "commit": machine()["commit"], **seconds, "dev_f1": f1})
        write_json(options.results, results)
        print(f"seed {seed}: {seconds['processor_seconds']:.0f} s of the processor, F1 on dev {f1}", flush=True)


def read_test(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Let all models read the test split: F1 of each seed, and the rates of the first seed's, in turns."""
    test = read_split("test", options.sentences)
    exported = options.models / f"{TEACHER}-onnx"
    if not exported.exists():
        export_onnx(SpanMarkerModel.from_pretrained(options.teacher), exported)
    places = [(TEACHER, "PyTorch, float32", options.teacher), (TEACHER, "ONNX Runtime, float32", exported)]
    places += [(STUDENT, name, options.models / f"{STUDENT}-1-{kind}") for name, (kind, _) in WAYS.items()]
    systems = {f"{who}, {name}": load(name, folder) for who, name, folder in places}
    folders = {f"{who}, {name}": folder for who, name, folder in places}
    if options.spacy:
        systems["spaCy"], folders["spaCy"] = load_spacy(options.spacy), options.spacy
    for run in results["runs"]:
        run["test_f1"] = {
            name: judge(
                test, load(name, options.models / f"{STUDENT}-{run['seed']}-{kind}").read(test)
            ).overall.f1.value
            for name, (kind, _) in WAYS.items()
        }
    results["teacher_f1"] = judge(test, systems[f"{TEACHER}, PyTorch, float32"].read(test)).overall.f1.value
    rates = measure(systems, test, options.rounds)
    results["systems"] = {
        name: {
            "bytes": sum(path.stat().st_size for path in folders[name].rglob("*") if path.is_file()),
            "sentences_per_second": rates[name],
            "milliseconds": latency(system, test[:100]),
        }
        for name, system in systems.items()
    }
    results["machine"], results["threads"] = machine(), torch.get_num_threads()
    results["machine"]["versions"] |= {name: version(name) for name in ("onnxruntime", "spacy")}
    write_json(options.results, results)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the study, or what is missing of it.

    Args:
        arguments: Command line arguments; those of the process by default.

    Returns:
        The results.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="a model that was trained on the bundled corpus")
    parser.add_argument("--models", type=Path, required=True, help="folder for the models")
    parser.add_argument("--texts", type=Path, nargs="+", default=[], help="more text, in CoNLL format")
    parser.add_argument("--num-texts", type=int, default=500, help="how many of its sentences are read")
    parser.add_argument("--num-renamed", type=int, default=1000, help="how many sentences are read with other names")
    parser.add_argument("--spacy", type=Path, help="folder of a spaCy pipeline")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--candidates-per-word", type=float, default=0.5, help="that get markers in training")
    parser.add_argument("--epochs", type=float, default=2.5)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sentences", type=int, help="only this many of each split")
    parser.add_argument("--rounds", type=int, default=7, help="of measuring the speed")
    parser.add_argument("--no-test", action="store_true", help="stop before the test split is read")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "small_model.json")
    options = parser.parse_args(arguments)
    texts = read_texts(options.texts, options.num_texts)
    names = ["num_texts", "num_renamed", "layers", "candidates_per_word", "epochs", "learning_rate", "batch_size"]
    names.append("sentences")
    settings = {name: getattr(options, name) for name in names} | {
        "texts": [path.parent.name for path in options.texts]
    }
    results = continue_study(options.results, {"settings": settings, "runs": []})
    run_seeds(options, results, texts)
    if not options.no_test:
        read_test(options, results)
        print(small_model_table(results))
    return results


if __name__ == "__main__":
    main()
