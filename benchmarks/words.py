"""Words that a model was trained on, strings that it reads: how much survives between the two.

``python benchmarks/words.py --train FILE --test FILE [FILE ...]`` fits word rules to the words of one column file,
writes the sentences of the others as plain text, and splits it again. It prints the shares of the words that come
back, of the entities whose edges are edges of words, and of the entities whose words all come back, for each word
splitter. ``--sentences 5`` joins five sentences into one text.

``--encoder NAME`` also trains a model with each of three seeds on words, and measures its F1 on the words and on the
plain text: with the splitter that training chose, and with that of the tokenizer. These figures are written to
``benchmarks/results/words.json``; seeds that it has are not run again. ``--moses`` writes plain text by sacremoses,
which shares nothing with the library, rather than by `detokenize`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from speed import machine
from studies import spread, train_model, write_json

from span_marker import SpanMarkerModel, read_annotations
from span_marker.core.word_rules import WordRules, attached_marks, detokenize
from span_marker.core.words import Place, Split, character_words, unicode_words

HERE = Path(__file__).parent

Row = dict[str, Any]
Text = tuple[str, list[Place], list[tuple[str, int, int]]]


def join_sentences(rows: Sequence[Row], size: int) -> list[Row]:
    """Make one row of every ``size`` rows."""
    joined = []
    for first in range(0, len(rows), size):
        row: Row = {"tokens": [], "entities": []}
        for part in rows[first : first + size]:
            shift = len(row["tokens"])
            row["tokens"] = row["tokens"] + part["tokens"]
            row["entities"] = row["entities"] + [
                {"label": e["label"], "start": e["start"] + shift, "end": e["end"] + shift} for e in part["entities"]
            ]
        joined.append(row)
    return joined


def moses(words: Sequence[str]) -> tuple[str, list[Place]] | None:
    """Write words as plain text by sacremoses; None if it changes one."""
    from sacremoses import MosesDetokenizer  # optional

    text, places, last = MosesDetokenizer(lang="en").detokenize(list(words), unescape=False), [], 0
    for word in words:
        start = text.find(word, last)
        if start < 0:
            return None
        last = start + len(word)
        places.append((start, last))
    return text, places


def as_texts(rows: Sequence[Row], attached: frozenset[str], use_moses: bool) -> list[Text | None]:
    """Write rows as plain text, with the places of their words, and of their entities with labels."""
    texts: list[Text | None] = []
    for row in rows:
        written = moses(row["tokens"]) if use_moses else detokenize(row["tokens"], attached)
        if written is None or len(written[1]) < len(row["tokens"]):
            texts.append(None)
            continue
        text, places = written
        spans = [(e["label"], places[e["start"]][0], places[e["end"] - 1][1]) for e in row["entities"]]
        texts.append((text, places, spans))
    return texts


def shares(texts: Sequence[Text], rows: Sequence[Row], split: Split) -> str:
    """The shares of words and entities that come back."""
    num_words = num_restored = num_entities = num_edges = num_same = 0
    for (text, places, _), row in zip(texts, rows, strict=True):
        found = set(split(text))
        starts, ends = {start for start, _ in found}, {end for _, end in found}
        num_words += len(places)
        num_restored += len(found & set(places))
        for entity in row["entities"]:
            words = places[entity["start"] : entity["end"]]
            num_entities += 1
            num_edges += words[0][0] in starts and words[-1][1] in ends
            num_same += found.issuperset(words)
    return (
        f"words {num_restored / num_words:7.2%}, edges of entities {num_edges / num_entities:7.2%}, "
        f"words of entities {num_same / num_entities:7.2%}"
    )


def f1(gold: list[set[Any]], predicted: list[set[Any]]) -> float:
    """Strict F1."""
    num_right = sum(len(first & second) for first, second in zip(gold, predicted, strict=True))
    return 2 * num_right / max(sum(map(len, gold)) + sum(map(len, predicted)), 1)


def compare(model: SpanMarkerModel, rows: Sequence[Row], texts: Sequence[Text]) -> dict[str, float]:
    """F1 on words and on strings."""
    gold = [{(e["label"], e["start"], e["end"]) for e in row["entities"]} for row in rows]
    found = model.predict([row["tokens"] for row in rows], is_split_into_words=True)
    of_words = [{(e["label"], e["word_start_index"], e["word_end_index"]) for e in row} for row in found]
    found = model.predict([text for text, _, _ in texts], is_split_into_words=False)
    of_texts = [{(e["label"], e["char_start_index"], e["char_end_index"]) for e in row} for row in found]
    return {"words": f1(gold, of_words), "strings": f1([set(spans) for _, _, spans in texts], of_texts)}


def train_and_compare(
    data: Dataset, tests: dict[str, tuple[list[Row], list[Text]]], options: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """Train a model on words, and compare what it finds in words and in strings, for each way to split strings."""
    runs: dict[str, Any] = {path: {} for path in tests}
    with tempfile.TemporaryDirectory() as folder:
        train_model(data, options.encoder, seed).save_pretrained(folder)
        for name, splitter in (("own", {}), ("tokenizer", {"word_splitter": "tokenizer"})):
            model = SpanMarkerModel.from_pretrained(folder, **splitter)
            for path, (rows, texts) in tests.items():
                runs[path][name] = {"splitter": model.config.word_splitter, **compare(model, rows, texts)}
    return runs


def main() -> None:
    """Print the shares, and measure models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True, nargs="+")
    parser.add_argument("--encoder", help="name or path of an encoder to train")
    parser.add_argument("--train-sentences", type=int, default=1500, help="train on this many, at even distances")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=1, help="number of sentences in a text")
    parser.add_argument("--moses", action="store_true")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "words.json")
    options = parser.parse_args()
    train: Dataset = read_annotations(options.train)
    attached = attached_marks(train["tokens"])
    rules = WordRules.fit(train["tokens"])
    splits = {"unicode": unicode_words, "characters": character_words, "fitted": rules.split}
    tests: dict[str, tuple[list[Row], list[Text]]] = {}
    print(f"{len(rules.breaks)} rules from {len(train):,} sentences")
    for path in options.test:
        rows = join_sentences(read_annotations(path).to_list(), options.sentences)
        pairs = list(zip(rows, as_texts(rows, attached, options.moses), strict=True))
        kept = [(row, text) for row, text in pairs if text is not None]
        rows, texts = [row for row, _ in kept], [text for _, text in kept]
        tests["/".join(Path(path).parts[-2:])] = rows, texts
        print(f"{path}: {len(rows):,} texts, {len(pairs) - len(rows)} left out")
        for name, split in splits.items():
            print(f"  {name:<10}  {shares(texts, rows, split)}")
    if options.encoder is None:
        return
    data = train.select(spread(len(train), options.train_sentences))
    results: dict[str, Any] = {"data": {}}
    if options.results.exists():
        results = json.loads(options.results.read_text(encoding="utf-8"))
    known = results["data"]
    for seed in range(1, options.seeds + 1):
        if all(str(seed) in known.get(path, {}).get("seeds", {}) for path in tests):
            continue
        for path, figures in train_and_compare(data, tests, options, seed).items():
            print(path, seed, figures, flush=True)
            runs = known.setdefault(path, {"train": len(data), "seeds": {}})
            runs["seeds"][str(seed)] = figures
            write_json(options.results, {"machine": machine("cpu"), **results, "data": known})


if __name__ == "__main__":
    main()
