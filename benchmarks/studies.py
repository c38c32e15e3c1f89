"""Pieces that studies share: results on disk, runs that processes divide among themselves, figures and differences."""

from __future__ import annotations

import fcntl
import json
import statistics
import tempfile
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import set_seed

from span_marker import SpanMarkerModel, Trainer, suggest_training_arguments
from span_marker.core.metrics import NAMES, precision_recall_f1
from span_marker.data.text_files import writing
from span_marker.error_analysis import bootstrap

NUM_RESAMPLES = 10_000
"""Number of resamples of the sentences, in comparisons."""


def write_json(path: Path, value: Any) -> None:
    """Write a file in JSON; what was written before stays whole until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def continue_study(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Read the results of a study that was stopped, or begin with new ones.

    Raises:
        SystemExit: If the file is of a study with other settings.
    """
    if not path.exists():
        return results
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found["settings"] != results["settings"]:
        raise SystemExit(f"{path} is of {found['settings']}, not {results['settings']}: choose another --results")
    return found


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Claim a run until the block ends, so that no other process does it, too.

    The claim is a lock on an empty file beside the result. The operating system releases it when the process ends, even
    if it is killed: no claim outlives its process, and none has to expire.

    Args:
        path: Where the result of the run is written, in one step.

    Yields:
        Whether the run is to be done: no other process has claimed it, and there is no result.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".claim")
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield not path.exists()
        if path.exists():  # whoever still waits for this lock, or makes a new file, sees the result and leaves it
            lock.unlink(missing_ok=True)


def spread(size: int, count: int | None) -> list[int]:
    """Choose some of ``size`` indices at even distances, or all."""
    count = size if count is None else min(count, size)
    return [index * size // count for index in range(count)]


def count_entities(
    gold: Iterable[Sequence[Hashable]], found: Iterable[Sequence[Hashable]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Count what is right, what was found and what is gold in each sentence, ``(num_sentences, 3)``."""
    pairs = ((set(one), set(other)) for one, other in zip(gold, found, strict=True))
    return np.array([[len(one & other), len(other), len(one)] for one, other in pairs], dtype=float).reshape(-1, 3)


def figures(counts: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """Compute strict precision, recall and F1 over all sentences, and write the counts in a compact form."""
    overall = precision_recall_f1(counts.sum(axis=0)).tolist()
    compact = " ".join(str(int(number)) for number in counts.flatten())
    return {**dict(zip(NAMES, overall, strict=True)), "counts": compact}


def read_counts(runs: Iterable[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Add up the counts of some runs on the same sentences, ``(num_sentences, 3)``."""
    return np.sum([np.array(run["counts"].split(), dtype=float).reshape(-1, 3) for run in runs], axis=0)


def t_test(differences: list[float]) -> float:
    """Compute how probable a mean is that is as far from 0 or further, by Student's test."""
    freedom = len(differences) - 1
    error = statistics.stdev(differences) / len(differences) ** 0.5
    # With t = tan(angle) * sqrt(freedom), the density of t becomes cos(angle) ** (freedom - 1).
    angle = np.arctan2(abs(statistics.mean(differences)), error * freedom**0.5)
    middles = (np.arange(10_000) + 0.5) / 10_000
    tail, half = (rest * (np.sin(rest * middles) ** (freedom - 1)).mean() for rest in (np.pi / 2 - angle, np.pi / 2))
    return float(tail / half)


def compare_runs(base: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare the `figures` of two systems on the same sentences, run by run.

    Two tests say whether a difference may be chance. The one over seeds, Student's paired t-test, asks about other
    trainings, and with few seeds sees large differences only. The one over sentences, a paired bootstrap of
    counts summed over the runs, asks about other sentences, read by the same models.

    Args:
        base: Runs of the system to compare with.
        own: Runs of the other system, with the same seeds in the same order.

    Returns:
        The mean ``difference`` in F1, its ``interval`` over sentences (95%), ``p_sentences``, and ``p_seeds``, None for
        a single run.
    """
    differences = [run["f1"] - other["f1"] for run, other in zip(own, base, strict=True)]
    counts = [{"all": read_counts(runs)} for runs in (base, own)]
    pooled = bootstrap.compare(*counts, num_resamples=NUM_RESAMPLES, confidence=0.95, seed=0)["all"].f1
    return {
        "difference": statistics.mean(differences),
        "interval": [pooled.difference.low, pooled.difference.high],
        "p_sentences": pooled.p_value,
        "p_seeds": t_test(differences) if len(differences) > 1 else None,
    }


def train_model(
    data: Dataset, encoder: str, seed: int, training: dict[str, Any] | None = None, **model_arguments: Any
) -> SpanMarkerModel:
    """Train a model as the documentation advises for the data, without an evaluation.

    Args:
        data: Annotated data.
        encoder: Name or path of the encoder.
        seed: Seed of the new layers and of the training.
        training: Arguments of ``TrainingArguments`` to set in place of what is suggested.
        model_arguments: Arguments of ``from_pretrained``.

    Returns:
        The trained model.
    """
    set_seed(seed)
    model = SpanMarkerModel.from_pretrained(encoder, labels=data, model_max_length=256, **model_arguments)
    with tempfile.TemporaryDirectory() as folder:
        arguments = suggest_training_arguments(
            data,
            model,
            folder,
            seed=seed,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **(training or {}),
        )
        Trainer(model, arguments, data).train()
    return model
