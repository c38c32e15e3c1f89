"""What a core reads: a model in all runtimes, a small one that it taught, token classification, and spaCy.

``python benchmarks/small_model.py --teacher CHECKPOINT --models FOLDER_TO_MAKE`` takes three layers of a trained model,
prunes its vocabulary, teaches it with every seed, exports it, and quantizes it. It learns from the train split, from
what the teacher says about the same sentences with other names, and with ``--texts`` about more text in CoNLL format,
whose annotations nobody reads. ``--classifier FOLDER`` adds a token classifier and ``--spacy FOLDER`` a spaCy
pipeline, such as those that ``case_studies.py`` trains on the same data. Everything is chosen on the dev split; the
test split is read at the end. Each training is written down as soon as it is done, so that a study that was stopped
goes on where it stopped. Set ``OMP_NUM_THREADS=1``.
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
from systems import (
    Sentence,
    System,
    bundled_corpus,
    export_token_classifier,
    judge,
    load_exported_token_classifier,
    load_spacy,
    load_token_classifier,
    read_split,
    read_with,
)
from tables import HERE, small_model_table
from transformers import set_seed

from span_marker import SpanMarkerModel
from span_marker.compression import distill, prune_vocabulary, shrink
from span_marker.export import export_onnx, export_openvino, quantize
from span_marker.runtime import ExportedModel

NUM_CALIBRATION = 400
"""Training sentences on which static quantization measures ranges."""

RECALL = 0.98
"""Share of the entities that the candidate filter must keep. The dev split is too small to be sure of more."""

TEACHER, STUDENT, CLASSIFIER = "teacher", "student", "token classification"

WAYS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "PyTorch, float32": ("torch", SpanMarkerModel.from_pretrained),
    "ONNX Runtime, float32": ("onnx", ExportedModel.from_pretrained),
    "OpenVINO, bfloat16": ("openvino", ExportedModel.from_pretrained),
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


def export(folders: dict[str, Path], num_sentences: int | None) -> None:
    """Export a model, and quantize it in both ways.

    Args:
        folders: One for each way of `WAYS`, of which ``torch`` has the model.
        num_sentences: How many of each split are read; None for all.
    """
    train, dev = (bundled_corpus.read_words(split).take(num_sentences or 10**9) for split in ("train", "dev"))
    calibration = [train["tokens"][index] for index in spread(len(train), NUM_CALIBRATION)]
    model = SpanMarkerModel.from_pretrained(folders["torch"])
    export_onnx(model, folders["onnx"])
    export_openvino(model, folders["openvino"], dtype="bfloat16")
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


def student_folders(options: argparse.Namespace, seed: int) -> dict[str, Path]:
    """Say where the small model of a seed is, in each of `WAYS`."""
    return {kind: options.models / f"{STUDENT}-{seed}-{kind}" for kind, _ in WAYS.values()}


def read_in_all_ways(folders: dict[str, Path], sentences: list[Sentence]) -> dict[str, float]:
    """Compute the F1 of a model in each of `WAYS`."""
    return {
        name: judge(sentences, load(name, folders[kind]).read(sentences)).overall.f1.value
        for name, (kind, _) in WAYS.items()
    }


def run_seeds(options: argparse.Namespace, results: dict[str, Any], texts: list[list[str]]) -> None:
    """Teach and export with the seeds that are missing, and write down F1 on the dev split."""
    done = {run["seed"] for run in results["runs"]}
    for seed in range(1, options.seeds + 1):
        if seed in done:
            continue
        folders = student_folders(options, seed)
        started, processor_started = time.perf_counter(), time.process_time()
        teach(options, seed, texts, folders["torch"])
        seconds = {
            "seconds": time.perf_counter() - started,
            "processor_seconds": time.process_time() - processor_started,
        }
        export(folders, options.sentences)
        f1 = read_in_all_ways(folders, read_split("dev", options.sentences))
        results["runs"].append({"seed": seed, "commit": machine()["commit"], **seconds, "dev_f1": f1})
        write_json(options.results, results)
        print(f"seed {seed}: {seconds['processor_seconds']:.0f} s of the processor, F1 on dev {f1}", flush=True)


def read_test(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Let all models read the test split: F1 of each seed, and the rates of the first seed's, in turns."""
    test = read_split("test", options.sentences)
    teacher = {kind: options.models / f"{TEACHER}-{kind}" for kind, _ in WAYS.values()} | {"torch": options.teacher}
    if not teacher["static"].exists():
        export(teacher, options.sentences)
    f1: dict[str, list[float]] = {}
    for who, models in (
        (TEACHER, [teacher]),
        (STUDENT, [student_folders(options, run["seed"]) for run in results["runs"]]),
    ):
        of_models = [read_in_all_ways(folders, test) for folders in models]
        f1 |= {f"{who}, {name}": [of[name] for of in of_models] for name in WAYS}
    places = {TEACHER: teacher, STUDENT: student_folders(options, 1)}
    folders = {f"{who}, {name}": of[kind] for who, of in places.items() for name, (kind, _) in WAYS.items()}
    systems = {f"{who}, {name}": load(name, folders[f"{who}, {name}"]) for who in places for name in WAYS}
    if options.classifier:
        exported = options.models / "classifier-onnx"
        export_token_classifier(options.classifier, exported)
        folders |= {f"{CLASSIFIER}, PyTorch": options.classifier, f"{CLASSIFIER}, ONNX Runtime": exported}
        systems[f"{CLASSIFIER}, PyTorch"] = load_token_classifier(options.classifier)
        systems[f"{CLASSIFIER}, ONNX Runtime"] = load_exported_token_classifier(exported)
    if options.spacy:
        folders["spaCy"], systems["spaCy"] = options.spacy, load_spacy(options.spacy)
    for name in systems.keys() - f1.keys():
        f1[name] = [judge(test, systems[name].read(test)).overall.f1.value]
    rates = measure(systems, test, options.rounds)
    results["systems"] = {
        name: {
            "f1": f1[name],
            "bytes": sum(path.stat().st_size for path in folders[name].rglob("*") if path.is_file()),
            "sentences_per_second": rates[name],
            "milliseconds": latency(system, test[:100]),
        }
        for name, system in systems.items()
    }
    results["machine"], results["threads"] = machine(), torch.get_num_threads()
    results["machine"]["versions"] |= {name: version(name) for name in ("onnxruntime", "openvino", "spacy")}
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
    parser.add_argument("--classifier", type=Path, help="folder of a token classifier")
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
