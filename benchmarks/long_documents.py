"""Measures reading long text in windows: documents as one text each against sentence by sentence, and a whole book.

``python benchmarks/long_documents.py --data FOLDER --encoder NAME`` takes documents of CoNLL's ``train.txt``, spread
over all of it, and joins the words of each with spaces. One model learns from their sentences, the other from the
documents as they are, which training reads in windows. Both read documents of ``test.txt`` in both ways; entities are
compared by their characters. ``--book CHECKPOINT`` instead measures reading ``test.txt`` as one string, as often as it
takes for a book. Figures are printed as tables and written to ``benchmarks/results/long_documents.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from precision import short_training, spend_time_on_learning
from speed import machine
from tables import book_table, long_documents_table
from transformers import set_seed

from span_marker import SpanMarkerModel, Trainer
from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import compute_metrics
from span_marker.data.files import read_annotations

HERE = Path(__file__).parent
WINDOW = 128
BOOK_WORDS = 100_000

Text = tuple[str, list[LabelledSpan]]


def join(sentences: list[tuple[list[str], list[dict[str, Any]]]]) -> Text:
    """Join the words of sentences with spaces, and find the characters of their entities."""
    text, spans = "", []
    for words, entities in sentences:
        starts, ends = [], []
        for word in words:
            text += " " if text else ""
            starts.append(len(text))
            text += word
            ends.append(len(text))
        spans += [LabelledSpan(e["label"], starts[e["start"]], ends[e["end"] - 1]) for e in entities]
    return text, spans


def train(texts: list[Text], encoder: str, batch_size: int) -> SpanMarkerModel:
    """Train a model on some texts."""
    set_seed(1)
    data = Dataset.from_list(
        [{"text": text, "entities": [entity._asdict() for entity in spans]} for text, spans in texts]
    )
    model = SpanMarkerModel.from_pretrained(
        encoder, labels=data, model_max_length=WINDOW, entity_max_length=6, candidates_per_word=None
    )
    spend_time_on_learning(model)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(model=model, args=short_training(folder, batch_size=batch_size), train_dataset=data).train()
    return model


def f1(model: SpanMarkerModel, texts: list[Text]) -> dict[str, Any]:
    """Predict on texts, and compare entities by their characters."""
    found, coverage = model.predict(Dataset.from_dict({"text": [text for text, _ in texts]}), return_coverage=True)
    predicted = [[LabelledSpan(e["label"], e["char_start_index"], e["char_end_index"]) for e in row] for row in found]
    metrics = compute_metrics([gold for _, gold in texts], predicted, [len(text) for text, _ in texts])
    return {
        **{name: metrics[f"overall_{name}"] for name in ("precision", "recall", "f1")},
        "texts": len(texts),
        "windows": sum(one.num_windows for one in coverage),
        "complete": all(one.is_complete for one in coverage),
    }


def peak_memory() -> float:
    """The most memory that this process has held, in MiB; not that of the process which started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_book(checkpoint: Path, data: Path, num_words: int) -> dict[str, Any]:
    """Read so many words as one string, and say what it took."""
    sentences = read_annotations(data / "test.txt")
    text = ""
    count = 0
    while count < num_words:
        for words in sentences["tokens"]:
            text += " ".join(words) + "\n"
            count += len(words)
            if count >= num_words:
                break
    model = SpanMarkerModel.from_pretrained(checkpoint, model_max_length=WINDOW).try_cuda()
    before = peak_memory()
    started = time.perf_counter()
    entities, coverage = model.predict(text, show_progress_bar=True, return_coverage=True)
    return {
        "words": count,
        "characters": len(text),
        "entities": len(entities),
        "windows": coverage.num_windows,
        "complete": coverage.is_complete,
        "seconds": time.perf_counter() - started,
        "memory_before": before,
        "memory": peak_memory(),
    }


def read_books() -> dict[str, Any]:
    """Read two books, each in a process of its own."""
    books = {}
    for num_words in (BOOK_WORDS // 10, BOOK_WORDS):
        command = [sys.executable, __file__, *sys.argv[1:], "--book-words", str(num_words)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        books[str(num_words)] = json.loads(output.splitlines()[-1])
    return {"machine": machine("cuda" if torch.cuda.is_available() else "cpu"), "lengths": books}


def read_documents(path: Path, every: int) -> tuple[list[Text], list[Text]]:
    """Every so many documents of a column file: their sentences, and the documents as they are."""
    documents: dict[int, list[tuple[list[str], list[dict[str, Any]]]]] = {}
    for row in read_annotations(path, documents=True):
        documents.setdefault(row["document_id"], []).append((row["tokens"], row["entities"]))
    chosen = list(documents.values())[::every]
    return [join([sentence]) for document in chosen for sentence in document], [join(document) for document in chosen]


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Train on sentences and on documents, and read both with both."""
    sentences, documents = read_documents(options.data / "train.txt", options.train_every)
    tests = read_documents(options.data / "test.txt", options.test_every)
    test = dict(zip(("sentences", "documents"), tests, strict=True))
    runs = {}
    # A window has about four times the words of a sentence: as many steps for both.
    for name, texts, batch_size in (("sentences", sentences, 8), ("documents", documents, 2)):
        model = train(texts, options.encoder, batch_size)
        runs[name] = {read_as: f1(model, test[read_as]) for read_as in test}
        print(name, runs[name], flush=True)
    return {
        "machine": machine("cuda" if torch.cuda.is_available() else "cpu"),
        "window": WINDOW,
        "train": {"sentences": len(sentences), "documents": len(documents)},
        "runs": runs,
    }


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt and test.txt")
    parser.add_argument("--encoder", help="name or path of an encoder to train")
    parser.add_argument("--train-every", type=int, default=5, help="train on every so many documents")
    parser.add_argument("--test-every", type=int, default=4, help="test on every so many documents")
    parser.add_argument("--book", type=Path, help="read books with this checkpoint, and leave the rest as it is")
    parser.add_argument("--book-words", type=int, help="read one book of so many words, and write nothing")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "long_documents.json")
    options = parser.parse_args()
    if options.book_words:
        print(json.dumps(read_book(options.book, options.data, options.book_words)))
        return
    if not options.book and not options.encoder:
        parser.error("--encoder or --book is needed")
    results: dict[str, Any] = {}
    if options.results.exists():
        results = json.loads(options.results.read_text(encoding="utf-8"))
    if options.book:
        results["book"] = read_books()
    else:
        results = {**results, **compare(options)}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(book_table(results) if options.book else long_documents_table(results))


if __name__ == "__main__":
    main()
