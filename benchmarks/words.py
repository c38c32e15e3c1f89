"""Words that a model was trained on, strings that it reads: how much survives between the two.

``python benchmarks/words.py --train FILE --test FILE [FILE ...]`` fits word rules to the words of one column file,
writes the sentences of the others as plain text, and splits it again. It prints the shares of the words that come
back, of the entities whose edges are edges of words, and of the entities whose words all come back, for each word
splitter. ``--sentences 5`` joins five sentences into one text.

``--model FOLDER`` adds the splitter of a model, and its F1 on the words and on the plain text. To compare word
splitters on one model, pass ``--splitter tokenizer``, too. ``--moses`` writes plain text by sacremoses, which shares
nothing with the library, rather than by `detokenize`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from span_marker import SpanMarkerModel, read_annotations
from span_marker.core.word_rules import WordRules, attached_marks, detokenize
from span_marker.core.words import Place, Split, character_words, unicode_words

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


def compare(model: SpanMarkerModel, rows: Sequence[Row], texts: Sequence[Text]) -> str:
    """F1 on words and on strings."""
    gold = [{(e["label"], e["start"], e["end"]) for e in row["entities"]} for row in rows]
    found = model.predict([row["tokens"] for row in rows], is_split_into_words=True)
    of_words = [{(e["label"], e["word_start_index"], e["word_end_index"]) for e in row} for row in found]
    found = model.predict([text for text, _, _ in texts], is_split_into_words=False)
    of_texts = [{(e["label"], e["char_start_index"], e["char_end_index"]) for e in row} for row in found]
    scores = f1(gold, of_words), f1([set(spans) for _, _, spans in texts], of_texts)
    return f"F1 of words {scores[0]:.4f}, of strings {scores[1]:.4f}"


def tokenizer_split(model: SpanMarkerModel) -> Split:
    """The words that the tokenizer itself makes of a string."""

    def split(text: str) -> list[Place]:
        (sentence,) = model.require_tokenizer().encode_texts([text])
        assert sentence.char_starts is not None
        assert sentence.char_ends is not None
        places = zip(sentence.char_starts.tolist(), sentence.char_ends.tolist(), strict=True)
        return [(end - len(text[start:end].lstrip()), end) for start, end in places]

    return split


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True, nargs="+")
    parser.add_argument("--model", help="a SpanMarker checkpoint")
    parser.add_argument("--splitter", help="a word_splitter in place of the model's own")
    parser.add_argument("--sentences", type=int, default=1, help="number of sentences in a text")
    parser.add_argument("--moses", action="store_true")
    arguments = parser.parse_args()
    train: Dataset = read_annotations(arguments.train)
    attached = attached_marks(train["tokens"])
    rules = WordRules.fit(train["tokens"])
    splits = {"unicode": unicode_words, "characters": character_words, "fitted": rules.split}
    model = None
    if arguments.model is not None:
        splitter = {} if arguments.splitter is None else {"word_splitter": arguments.splitter}
        model = SpanMarkerModel.from_pretrained(arguments.model, **splitter)
        splits["tokenizer"] = tokenizer_split(model)
        if model.config.split is not None:
            splits["model"] = model.config.split
    print(f"{len(rules.breaks)} rules from {len(train):,} sentences")
    for path in arguments.test:
        rows = join_sentences(read_annotations(path).to_list(), arguments.sentences)
        pairs = list(zip(rows, as_texts(rows, attached, arguments.moses), strict=True))
        kept = [(row, text) for row, text in pairs if text is not None]
        rows, texts = [row for row, _ in kept], [text for _, text in kept]
        print(f"{path}: {len(rows):,} texts, {len(pairs) - len(rows)} left out")
        for name, split in splits.items():
            print(f"  {name:<10}  {shares(texts, rows, split)}")
        if model is not None:
            print(f"  {compare(model, rows, texts)}")


if __name__ == "__main__":
    main()
