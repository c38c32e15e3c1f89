"""A small model beside the model that taught it and spaCy: F1 and speed on the text of the case studies, on one thread.

``python benchmarks/small_model.py --teacher CHECKPOINT --models FOLDER_TO_MAKE`` takes two layers of a trained model,
prunes its vocabulary, teaches it with every seed, exports it, and quantizes it. ``--texts`` adds text in CoNLL format,
whose annotations nobody reads; ``--spacy NAME_OR_PATH`` adds the rate of a spaCy pipeline. Everything is chosen on the
dev split; the test split is read at the end. Each training is written down as soon as it is done, so that a study that
was stopped goes on where it stopped. Set ``OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from case_studies import measure
from datasets import Dataset
from speed import machine, read_conll
from studies import continue_study, spread, write_json
from systems import BATCH_SIZE, Sentence, System, bundled_corpus, judge, load_spacy, quickstart, read_split, read_with
from tables import HERE, small_model_table
from transformers import TrainingArguments, set_seed

from span_marker import SpanMarkerModel
from span_marker.compression import distill, prune_vocabulary, shrink
from span_marker.export import export_onnx, quantize
from span_marker.runtime import ExportedModel

NUM_CALIBRATION = 400
"""Training sentences on which static quantization measures ranges."""

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


def teach(options: argparse.Namespace, seed: int, texts: list[list[str]], folder: Path) -> None:
    """Make a small model of the teacher, and save it."""
    train, dev = (bundled_corpus.read_words(split).take(options.sentences or 10**9) for split in ("train", "dev"))
    teacher = SpanMarkerModel.from_pretrained(options.teacher)
    set_seed(seed)
    student = prune_vocabulary(shrink(teacher, options.layers), [*train["tokens"], *texts])
    quickstart.spend_time_on_learning(student)
    args = TrainingArguments(
        output_dir=str(folder.parent / "trainer"),
        learning_rate=options.learning_rate,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=BATCH_SIZE,
        warmup_steps=0.1,
        weight_decay=0.01,
        logging_steps=100,
        save_strategy="no",
        report_to="none",
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
    )
    distill(teacher, student, texts, args, labeled=train, eval_dataset=dev)
    student.cpu().save_pretrained(folder)


def export(checkpoint: Path, folders: dict[str, Path], calibration: list[list[str]], dev: Dataset) -> None:
    """Export a model, and quantize it in both ways."""
    export_onnx(SpanMarkerModel.from_pretrained(checkpoint), folders["onnx"])
    for mode in ("dynamic", "static"):
        texts = calibration if mode == "static" else None
        quantize(folders["onnx"], folders[mode], dev, mode=mode, calibration=texts)  # type: ignore[arg-type]


def load(kind: str, folder: Path, from_pretrained: Callable[[Path], Any]) -> System:
    """Load a model. Its parameters are counted in PyTorch."""
    model = from_pretrained(folder)
    num_parameters = sum(parameter.numel() for parameter in model.parameters()) if kind == "torch" else 0
    return System(read_with(model), num_parameters)


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
            name: judge(sentences, load(kind, folders[kind], how).read(sentences)).overall.f1.value
            for name, (kind, how) in WAYS.items()
        }
        results["runs"].append({"seed": seed, "commit": machine()["commit"], **seconds, "dev_f1": f1})
        write_json(options.results, results)
        print(f"seed {seed}: {seconds['processor_seconds']:.0f} s of the processor, F1 on dev {f1}", flush=True)


def read_test(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Let all models read the test split: F1 of each seed, and the rates of the first seed's, in turns."""
    test = read_split("test", options.sentences)
    teacher_onnx = options.models / f"{TEACHER}-onnx"
    if not teacher_onnx.exists():
        export_onnx(SpanMarkerModel.from_pretrained(options.teacher), teacher_onnx)
    folders = {(TEACHER, "torch"): options.teacher, (TEACHER, "onnx"): teacher_onnx}
    folders |= {(STUDENT, kind): options.models / f"{STUDENT}-1-{kind}" for kind, _ in WAYS.values()}
    systems = {
        f"{who}, {name}": load(kind, folders[who, kind], how)
        for who in (TEACHER, STUDENT)
        for name, (kind, how) in WAYS.items()
        if (who, kind) in folders
    }
    for run in results["runs"]:
        run["test_f1"] = {
            name: judge(
                test, load(kind, options.models / f"{STUDENT}-{run['seed']}-{kind}", how).read(test)
            ).overall.f1.value
            for name, (kind, how) in WAYS.items()
        }
    sizes = {
        f"{who}, {name}": folders[who, kind] for who, kind in folders for name, (of, _) in WAYS.items() if of == kind
    }
    if options.spacy:
        systems["spaCy"] = load_spacy(options.spacy)
    rates = measure(systems, test, options.rounds)
    results["machine"], results["threads"] = machine(), torch.get_num_threads()
    results["machine"]["versions"] |= {name: version(name) for name in ("onnxruntime", "spacy")}
    results["teacher_f1"] = judge(test, systems[f"{TEACHER}, PyTorch, float32"].read(test)).overall.f1.value
    results["systems"] = {
        name: {
            "parameters": system.num_parameters,
            "bytes": folder_bytes(sizes[name]) if name in sizes else None,
            "sentences_per_second": rates[name],
            "milliseconds": latency(system, test[:100]),
        }
        for name, system in systems.items()
    }
    write_json(options.results, results)


def folder_bytes(folder: Path) -> int:
    """Count the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
    parser.add_argument("--num-texts", type=int, default=4000, help="how many of its sentences are read")
    parser.add_argument("--spacy", help="name or path of a spaCy pipeline")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sentences", type=int, help="only this many of each split")
    parser.add_argument("--rounds", type=int, default=7, help="of measuring the speed")
    parser.add_argument("--no-test", action="store_true", help="stop before the test split is read")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "small_model.json")
    options = parser.parse_args(arguments)
    texts = read_texts(options.texts, options.num_texts)
    names = ("num_texts", "layers", "epochs", "learning_rate", "batch_size", "sentences")
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
