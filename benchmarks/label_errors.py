"""Label errors: how many of the most suspicious annotations are wrong, by `find_label_errors` and by cleanlab.

``python benchmarks/label_errors.py --encoder FOLDER --corpus conllpp --errors real --results FOLDER`` looks for the
errors of the CoNLL-2003 test set that CoNLL++ corrected (Wang et al. 2019): ``conllpp`` has ``train.txt``, the
corrected ``test.txt``, and ``test-original.txt`` with the same sentences and their original tags. The original test
sentences and ``--sentences`` training sentences are cross-validated together; only the test sentences, whose errors are
known, are ranked. ``--errors synthetic`` puts errors of each kind into ``--share`` of the annotations of the training
sentences, or of the bundled corpus if no ``--corpus`` is passed.

Both systems have the same encoder, folds, epochs and batches. cleanlab ranks the out-of-fold probabilities of a token
classifier (Wang and Mueller 2022): sentences by its quality scores, and tokens in the order of its
``find_label_issues``, then by score. Tokens of one entity, and neighbors outside of entities, count once.

Out-of-fold predictions are stored in ``--results`` fold by fold. A run that was stopped goes on where it stopped, and
rankings can be compared without training anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from accuracy_data import Sentence, entity_columns, iob2_tags, read_bundled, read_file, sample, tag_columns
from accuracy_systems import on_this_machine, training_arguments
from datasets import Dataset
from speed import machine
from studies import write_json
from tables import standard_error
from token_classification import encode
from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification, set_seed

from span_marker import SpanMarkerModel, TrainingArguments
from span_marker.core.labels import LabelledSpan
from span_marker.curation import LabelErrorReport, find_label_errors
from span_marker.curation.label_errors import predict_all_spans
from span_marker.training.cross_validation import OutOfFold

DEPTHS = (100, 200, 500)
MAX_LENGTH = 256
KINDS = ("wrong-label", "wrong-boundary", "missing", "spurious", "inconsistent")

Place = tuple[int, int, int]
"""A row, a first word and the word after the last."""


class Error(NamedTuple):
    """A known error: its place and its kind."""

    place: Place
    kind: str


class Task(NamedTuple):
    """Sentences whose first ``num_judged`` have known errors; the others are trained on, too."""

    sentences: list[Sentence]
    num_judged: int
    errors: list[Error]


def load_real(folder: Path, num_sentences: int | None, seed: int) -> Task:
    """Read the original test sentences and their errors, followed by training sentences."""
    original, corrected = (read_file(folder / name, False) for name in ("test-original.txt", "test.txt"))
    if [sentence.words for sentence in original] != [sentence.words for sentence in corrected]:
        raise SystemExit(f"{folder}: test-original.txt and test.txt must have the same sentences")
    errors = [
        Error((row, entity.start, entity.end), "real")
        for row, (old, new) in enumerate(zip(original, corrected, strict=True))
        for entity in sorted(set(old.entities) ^ set(new.entities))
    ]
    train = read_file(folder / "train.txt", False)
    return Task([*original, *sample(train, num_sentences or len(train), seed)], len(original), errors)


def load_synthetic(folder: Path | None, num_sentences: int | None, share: float, seed: int) -> Task:
    """Put errors of each kind into annotated sentences, at most one per sentence."""
    clean = read_bundled()["train"] if folder is None else read_file(folder / "train.txt", False)
    sentences = sample(clean, num_sentences or len(clean), seed)
    generator = np.random.default_rng(seed)
    labels = sorted({entity.label for sentence in sentences for entity in sentence.entities})
    known: dict[tuple[str, ...], list[str]] = {}
    for words, entities in sentences:
        for label, start, end in entities:
            known.setdefault(tuple(words[start:end]), []).append(label)
    number, errors = round(share * sum(len(sentence.entities) for sentence in sentences)), []
    for row in generator.permutation(len(sentences)).tolist():
        if len(errors) == number:
            break
        kind = KINDS[len(errors) % len(KINDS)]
        changed = corrupt(sentences[row], kind, labels, known, generator)
        if changed is not None:
            sentences[row], (start, end) = changed
            errors.append(Error((row, start, end), kind))
    return Task(sentences, len(sentences), errors)


def corrupt(
    sentence: Sentence,
    kind: str,
    labels: Sequence[str],
    known: dict[tuple[str, ...], list[str]],
    generator: np.random.Generator,
) -> tuple[Sentence, tuple[int, int]] | None:
    """Put an error of a kind into a sentence, if it can have one, and say where it is."""
    words, entities = sentence
    covered = {word for _, start, end in entities for word in range(start, end)}
    if kind == "spurious":
        free = [word for word in range(len(words)) if word not in covered and words[word].isalpha()]
        if not free:
            return None
        word = int(generator.choice(free))
        added = LabelledSpan(str(generator.choice(labels)), word, word + 1)
        return Sentence(words, sorted([*entities, added], key=lambda entity: entity.start)), (word, word + 1)
    usual = [known[tuple(words[entity.start : entity.end])] for entity in entities]
    places = [
        place for place, some in enumerate(usual) if kind != "inconsistent" or (len(some) > 3 and len(set(some)) == 1)
    ]
    if not places:
        return None
    place = int(generator.choice(places))
    label, start, end = entities[place]
    others = [*entities[:place], *entities[place + 1 :]]
    if kind == "missing":
        return Sentence(words, others), (start, end)
    if kind == "wrong-boundary":
        moves = [(start - 1, end), (start, end + 1), (start + 1, end), (start, end - 1)]
        taken = covered - set(range(start, end))
        moves = [(a, b) for a, b in moves if 0 <= a < b <= len(words) and not taken & set(range(a, b))]
        if not moves:
            return None
        first, last = moves[int(generator.integers(len(moves)))]
        changed = LabelledSpan(label, first, last)
    else:
        changed = LabelledSpan(str(generator.choice([other for other in labels if other != label])), start, end)
    place = (min(start, changed.start), max(end, changed.end))
    return Sentence(words, sorted([*others, changed], key=lambda entity: entity.start)), place


def arguments_for(options: argparse.Namespace, num_sentences: int, learning_rate: float, seed: int) -> dict[str, Any]:
    """The training arguments of a fold."""
    arguments = training_arguments(num_sentences, options.epochs, options.batch_size, learning_rate, seed)
    return on_this_machine({**arguments, "bf16": True} if options.bfloat16 else arguments)


def predict_spans(options: argparse.Namespace, task: Task, seed: int) -> OutOfFold:
    """Cross-validate this library, or read what it predicted before."""
    data = Dataset.from_dict(entity_columns(task.sentences))
    folder = options.results / f"span-marker-{seed}"
    num_sentences = len(task.sentences) * (options.folds - 1) // options.folds
    arguments = arguments_for(options, num_sentences, options.learning_rate, seed * options.folds)
    return predict_all_spans(
        lambda: SpanMarkerModel.from_pretrained(options.encoder, labels=data, model_max_length=MAX_LENGTH),
        data,
        TrainingArguments(str(folder), **arguments),
        options.folds,
        seed=seed,
        resume=True,
    )


def predict_tokens(
    options: argparse.Namespace, task: Task, tags: list[str], folds: np.ndarray[Any, Any], seed: int
) -> list[np.ndarray[Any, Any]]:
    """Cross-validate a token classifier on the same folds: for each sentence the tags' probabilities, by word."""
    found: list[Any] = [None] * len(task.sentences)
    columns = tag_columns(task.sentences, tags)
    for fold in range(options.folds):
        measured = np.flatnonzero(folds == fold).tolist()
        path = options.results / f"token-classification-{seed}" / f"fold-{fold}.npz"
        if not path.exists():
            training = np.flatnonzero(folds != fold).tolist()
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(
                path,
                probabilities=np.concatenate(
                    train_tokens(options, columns, tags, training, measured, seed * options.folds + fold)
                ),
            )
        flat = np.load(path)["probabilities"]
        ends = np.cumsum([len(task.sentences[row].words) for row in measured])
        for row, part in zip(measured, np.split(flat, ends[:-1]), strict=True):
            found[row] = part
    return found


def train_tokens(
    options: argparse.Namespace,
    columns: dict[str, list[Any]],
    tags: list[str],
    training: list[int],
    measured: list[int],
    seed: int,
) -> list[np.ndarray[Any, Any]]:
    """Train a token classifier on some sentences, and read others."""
    tokenizer = AutoTokenizer.from_pretrained(options.encoder, add_prefix_space=True)
    set_seed(seed)
    model = AutoModelForTokenClassification.from_pretrained(options.encoder, num_labels=len(tags))
    rows = [encode(tokenizer, columns["tokens"][row], columns["ner_tags"][row], MAX_LENGTH) for row in training]
    arguments = arguments_for(options, len(rows), options.token_learning_rate, seed)
    transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(str(options.results / "unused"), **arguments),
        train_dataset=rows,
        data_collator=DataCollatorForTokenClassification(tokenizer),
    ).train()
    model.eval()
    found = []
    for row in measured:
        words = columns["tokens"][row]
        encoded = tokenizer(
            words, is_split_into_words=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )
        with torch.inference_mode():
            scores = model(**encoded.to(model.device)).logits[0].softmax(-1).cpu().numpy()
        probabilities = np.zeros((len(words), len(tags)), dtype=np.float32)
        probabilities[:, 0] = 1.0  # words beyond the limit
        for token, word in reversed(list(enumerate(encoded.word_ids()))):
            if word is not None:
                probabilities[word] = scores[token]  # at last that of the first token
        found.append(probabilities)
    return found


def rank_suspects(report: LabelErrorReport, num_judged: int) -> list[Place]:
    """The places of suspects in the order of the report."""
    return [(s.row, s.span.start, s.span.end) for s in report.suspects if s.row < num_judged]


def rank_by_cleanlab(
    task: Task, tags: list[str], probabilities: list[np.ndarray[Any, Any]]
) -> tuple[list[Place], list[int]]:
    """The places of tokens in the order of cleanlab, and the rows in the order of its scores."""
    from cleanlab.token_classification.filter import find_label_issues
    from cleanlab.token_classification.rank import get_label_quality_scores

    labels = tag_columns(task.sentences, tags)["ner_tags"]
    kept = [row for row in range(len(labels)) if labels[row]]  # it fails on empty sentences
    labels, probabilities = ([values[row] for row in kept] for values in (labels, probabilities))
    issues = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
    sentence_scores, token_scores = get_label_quality_scores(labels, probabilities)
    scored = sorted((score, row, word) for row, scores in enumerate(token_scores) for word, score in enumerate(scores))
    tokens = dict.fromkeys([*issues, *((row, word) for _, row, word in scored)])
    places = [entity_at(task, kept[row], word) for row, word in tokens if kept[row] < task.num_judged]
    rows = [kept[row] for row in np.argsort(sentence_scores, kind="stable").tolist()]
    return without_neighbors(task, places), [row for row in rows if row < task.num_judged]


def entity_at(task: Task, row: int, word: int) -> Place:
    """The entity that a word is part of, or the word itself."""
    return next(
        ((row, e.start, e.end) for e in task.sentences[row].entities if e.start <= word < e.end), (row, word, word + 1)
    )


def without_neighbors(task: Task, places: Iterable[Place]) -> list[Place]:
    """Leave out repeated places, and words outside of entities next to one that came before."""
    kept: dict[Place, None] = {}
    outside: set[tuple[int, int]] = set()
    for place in places:
        row, start, end = place
        if any((entity.start, entity.end) == (start, end) for entity in task.sentences[row].entities):
            kept.setdefault(place)
        elif not {(row, start - 1), (row, start), (row, start + 1)} & outside:
            outside.add((row, start))
            kept.setdefault(place)
    return list(kept)


def precision_at(is_hit: Sequence[bool]) -> dict[str, float]:
    """Share of the first places that are errors."""
    return {str(depth): sum(is_hit[:depth]) / depth for depth in DEPTHS}


def judge(task: Task, places: Sequence[Place], rows: Sequence[int]) -> dict[str, Any]:
    """Measure a ranking of places and one of rows."""
    wrong_rows = {error.place[0] for error in task.errors}
    hits = [any(touches(place, error.place) for error in task.errors) for place in places[: max(DEPTHS)]]
    first = places[: len(task.errors)]
    recalls = {}
    for kind in sorted({error.kind for error in task.errors}):
        some = [error.place for error in task.errors if error.kind == kind]
        recalls[kind] = sum(any(touches(place, error) for place in first) for error in some) / len(some)
    return {
        "sentences": precision_at([row in wrong_rows for row in rows]),
        "annotations": precision_at(hits),
        "recall": recalls,
    }


def touches(first: Place, second: Place) -> bool:
    """Whether two places are in the same row and share a word."""
    return first[0] == second[0] and first[1] < second[2] and second[1] < first[2]


def precision_by_kind(task: Task, report: LabelErrorReport) -> dict[str, float]:
    """Share of the first suspects of each kind, as many as there are errors in all, that are errors of any kind."""
    by_kind: dict[str, list[bool]] = {}
    for suspect in report.suspects[: len(task.errors)]:
        place = (suspect.row, suspect.span.start, suspect.span.end)
        by_kind.setdefault(suspect.kind, []).append(any(touches(place, error.place) for error in task.errors))
    return {kind: statistics.mean(hits) for kind, hits in sorted(by_kind.items())}


def judge_report(task: Task, models: list[list[Any]]) -> dict[str, Any]:
    """Measure the report on one or several models."""
    data = Dataset.from_dict(entity_columns(task.sentences))
    report = find_label_errors(data, models, min_probability=0.0)
    rows = [row for row in report.rows if row < task.num_judged]
    return {
        **judge(task, rank_suspects(report, task.num_judged), rows),
        "precision by kind": precision_by_kind(task, report),
    }


def chance(task: Task) -> dict[str, Any]:
    """What a random order of rows, and of annotated entities, has on average."""
    entities = [(row, e.start, e.end) for row, s in enumerate(task.sentences[: task.num_judged]) for e in s.entities]
    places = {error.place[0] for error in task.errors}
    wrong = sum(any(touches(place, error.place) for error in task.errors) for place in entities if place[0] in places)
    shares = {"sentences": len(places) / task.num_judged, "annotations": wrong / len(entities)}
    return {name: {str(depth): share for depth in DEPTHS} for name, share in shares.items()}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Cross-validate both systems with each seed, and measure their rankings."""
    judged: dict[str, list[dict[str, Any]]] = {}
    seconds: dict[str, float] = {}
    task = (
        load_real(options.corpus, options.sentences, 0)
        if options.errors == "real"
        else load_synthetic(options.corpus, options.sentences, options.share, 0)
    )
    tags = iob2_tags(sorted({entity.label for sentence in task.sentences for entity in sentence.entities}))
    spans, tokens = [], []
    for seed in range(options.seeds):
        started = time.perf_counter()
        predicted = predict_spans(options, task, seed)
        spans.append([row["entities"] for row in predicted.rows])
        middle = time.perf_counter()
        tokens.append(predict_tokens(options, task, tags, np.array(predicted.fold_of_row), seed))
        seconds[str(seed)] = round(middle - started), round(time.perf_counter() - middle)
        judged.setdefault("find_label_errors", []).append(judge_report(task, spans[-1:]))
        judged.setdefault("cleanlab", []).append(judge(task, *rank_by_cleanlab(task, tags, tokens[-1])))
        print(seed, seconds[str(seed)], {name: runs[-1] for name, runs in judged.items()}, flush=True)
    if options.seeds > 1:
        means = [np.mean(probabilities, axis=0) for probabilities in zip(*tokens, strict=True)]
        judged["find_label_errors, averaged"] = [judge_report(task, spans)]
        judged["cleanlab, averaged"] = [judge(task, *rank_by_cleanlab(task, tags, means))]
    judged["random"] = [chance(task)]
    return {"num_errors": len(task.errors), "num_judged": task.num_judged, "seconds": seconds, "rankings": judged}


def print_tables(results: dict[str, Any]) -> None:
    """Print means over seeds, with standard errors."""
    for level in ("sentences", "annotations"):
        print(f"\n{level}: precision at {', '.join(map(str, DEPTHS))}")
        for name, runs in results["rankings"].items():
            columns = ([run[level][str(depth)] for run in runs] for depth in DEPTHS)
            cells = (
                f"{statistics.mean(column):.3f}" + (f" ± {standard_error(column):.3f}" if len(column) > 1 else "")
                for column in columns
            )
            print(f"{name:<30}", "  ".join(cells))
    for name in ("recall", "precision by kind"):
        print(f"\n{name}, of as many places as there are errors")
        for ranking, runs in results["rankings"].items():
            if name in runs[0]:
                kinds = sorted({kind for run in runs for kind in run[name]})
                values = {kind: statistics.mean(run[name].get(kind, 0.0) for run in runs) for kind in kinds}
                print(f"{ranking:<30}", "  ".join(f"{kind} {value:.3f}" for kind, value in values.items()))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--corpus", type=Path, help="a folder in the form of conllpp; the bundled corpus by default")
    parser.add_argument("--errors", choices=("real", "synthetic"), required=True)
    parser.add_argument("--results", type=Path, required=True, help="a folder of its own for each task")
    parser.add_argument("--sentences", type=int, help="number of training sentences; all by default")
    parser.add_argument("--share", type=float, default=0.05, help="share of the annotations that get synthetic errors")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--bfloat16", action="store_true", help="train both systems in mixed precision")
    parser.add_argument("--token-learning-rate", type=float, default=3e-4, help="that of the token classifier")
    options = parser.parse_args()
    if options.errors == "real" and options.corpus is None:
        parser.error("--errors real needs --corpus")
    return options


def main() -> None:
    """Run the benchmark, print its tables and write its results."""
    options = parse_arguments()
    settings = {
        **{name: value for name, value in vars(options).items() if name != "results"},
        "encoder": "/".join(Path(options.encoder).parts[-2:]),
        "corpus": options.corpus and options.corpus.name,
    }
    results = {"settings": settings, "machine": machine(), **run(options)}
    print_tables(results)
    write_json(options.results / "results.json", json.loads(json.dumps(results)))


if __name__ == "__main__":
    sys.exit(main())
