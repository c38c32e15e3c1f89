"""Measures reading long text in windows: documents as one text each against sentence by sentence, and a whole book.

``python benchmarks/long_documents.py --data FOLDER --checkpoint FOLDER`` takes the documents of CoNLL's ``test.txt``
and a model that was trained on single sentences, such as the one that ``precision.py`` trains. It joins the words of
each document with spaces, predicts on the whole text under several text limits, and compares entities by their
characters with what the same model finds sentence by sentence. The book is the documents in turn, up to 100,000 words,
as one string. Figures are printed as a table and written to ``benchmarks/results/long_documents.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from speed import machine
from tables import long_documents_table

from span_marker import SpanMarkerModel
from span_marker.evaluation import compute_metrics
from span_marker.formats.reading import read_annotations
from span_marker.labels import LabelledSpan

HERE = Path(__file__).parent
LIMITS = (64, 128, 256)
BOOK_WORDS = 100_000


def join(sentences: list[tuple[list[str], list[dict[str, Any]]]]) -> tuple[str, list[LabelledSpan]]:
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


def f1(model: SpanMarkerModel, texts: list[tuple[str, list[LabelledSpan]]], batch_size: int) -> dict[str, Any]:
    """Predict on texts, and compare entities by their characters."""
    started = time.perf_counter()
    found, coverage = model.predict(
        Dataset.from_dict({"text": [text for text, _ in texts]}), batch_size=batch_size, return_coverage=True
    )
    seconds = time.perf_counter() - started
    predicted = [[LabelledSpan(e["label"], e["char_start_index"], e["char_end_index"]) for e in row] for row in found]
    metrics = compute_metrics([gold for _, gold in texts], predicted, [len(text) for text, _ in texts])
    return {
        **{name: metrics[f"overall_{name}"] for name in ("precision", "recall", "f1")},
        "texts": len(texts),
        "windows": sum(one.num_windows for one in coverage),
        "complete": all(one.is_complete for one in coverage),
        "seconds": seconds,
    }


def read_book(checkpoint: Path, data: Path, num_words: int, batch_size: int) -> dict[str, Any]:
    """Read so many words as one string, and say what it took; the peak of memory is that of the process."""
    sentences = read_annotations(data / "test.txt")
    text = ""
    count = 0
    while count < num_words:
        for words in sentences["tokens"]:
            text += " ".join(words) + "\n"
            count += len(words)
            if count >= num_words:
                break
    model = SpanMarkerModel.from_pretrained(checkpoint).try_cuda()
    started = time.perf_counter()
    entities, coverage = model.predict(text, batch_size=batch_size, show_progress_bar=True, return_coverage=True)
    return {
        "words": count,
        "characters": len(text),
        "entities": len(entities),
        "windows": coverage.num_windows,
        "complete": coverage.is_complete,
        "seconds": time.perf_counter() - started,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with test.txt")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a SpanMarker model")
    parser.add_argument("--documents", type=int, help="take this many documents only")
    parser.add_argument("--book-words", type=int, help="read a book of so many words, and nothing else")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "long_documents.json")
    options = parser.parse_args()
    if options.book_words:
        print(json.dumps(read_book(options.checkpoint, options.data, options.book_words, options.batch_size)))
        return

    documents: dict[int, list[tuple[list[str], list[dict[str, Any]]]]] = {}
    for row in read_annotations(options.data / "test.txt", documents=True):
        documents.setdefault(row["document_id"], []).append((row["tokens"], row["entities"]))
    chosen = list(documents.values())[: options.documents]
    by_sentence = [join([sentence]) for document in chosen for sentence in document]
    by_document = [join(document) for document in chosen]
    model = SpanMarkerModel.from_pretrained(options.checkpoint).try_cuda()
    results: dict[str, Any] = {
        "machine": machine(model.device.type),
        "words": sum(len(words) for document in chosen for words, _ in document),
        "sentence": f1(model, by_sentence, options.batch_size),
        "document": {},
        "book": {},
    }
    print(results, flush=True)
    for limit in LIMITS:
        model = SpanMarkerModel.from_pretrained(options.checkpoint, model_max_length=limit).try_cuda()
        results["document"][str(limit)] = f1(model, by_document, options.batch_size)
        print(limit, results["document"][str(limit)], flush=True)
    for num_words in (BOOK_WORDS // 10, BOOK_WORDS):
        command = [sys.executable, __file__, *sys.argv[1:], "--book-words", str(num_words)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results["book"][str(num_words)] = json.loads(output.splitlines()[-1])
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(long_documents_table(results))


if __name__ == "__main__":
    main()
