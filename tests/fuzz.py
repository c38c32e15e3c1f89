"""Hostile input: strategies, and what must hold of whatever a model reads.

``python tests/fuzz.py --minutes 5`` tries random input for that long, and prints how many inputs of each kind it tried.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import regex  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tiny import TOKENIZERS, build_model, uncased_tokenizer  # noqa: E402

from span_marker import SpanMarkerModel  # noqa: E402
from span_marker.preprocessing.inputs import Sentences  # noqa: E402
from span_marker.preprocessing.special_tokens import reserved_ids  # noqa: E402

FAMILY = {"wordpiece": "bert", "bytelevel": "roberta", "unigram": "xlm-roberta", "uncased": "bert"}

KINDS = [*TOKENIZERS, "uncased"]

TOLERANCE = 1e-4
"""Scores that are closer than this may change places when a sentence is read with others."""

BLANKS = ["", " ", "\t\n", "\u00a0", "\u200b", "\x00"]

PIECES = [
    "Paris", "Amelia Earhart", "don't", "U.S.", "...", "<start>", "<end>", "<s>", "</s>", "<pad>", "<mask>", "[SEP]",
    "Zoe\u0308", "दिल्ली", "क्षि", "กรุ", "நீ", "مُ", "יָ", "1\ufe0f\u20e3", "👍🏽", "❤\ufe0f\u200d🔥", "\u1112\u1161\u11ab",
    "\u0600",
    "東京", "กรุงเทพ", "القاهرة", "ירושלים", "İ", "ß", "ﬁ", "½", "\U0001d54f", "👩‍👩‍👧", "🇫🇷",
    "e\u0301", "\u0301", "a\u0308\u0323", "o" + "\u0300" * 40, "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad",
    "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069", "\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\ufffe",
    "\ud800", "\udfff", "\ud83d\ude00", "\udc00\ud800", "\U0010ffff", "\ufffd", "x" * 150, "é" * 90,
]  # fmt: skip

CHARACTERS = st.characters()  # lone surrogates among them, which st.text() leaves out
PIECE = st.one_of(st.sampled_from(PIECES), st.text(CHARACTERS, max_size=6))
TEXT = st.one_of(
    st.sampled_from(BLANKS),
    st.lists(st.one_of(PIECE, st.sampled_from([" ", " ", "\n", "\u3000"])), max_size=10).map("".join),
)
WORDS = st.lists(st.one_of(PIECE, st.sampled_from(BLANKS)), max_size=8)
BATCHES = {"texts": st.lists(TEXT, min_size=1, max_size=6), "words": st.lists(WORDS, min_size=1, max_size=6)}


def build(kind: str) -> SpanMarkerModel:
    """A tiny model that finds a lot, and reads all but the shortest sentences in windows."""
    model = build_model(FAMILY[kind], entity_max_length=2, model_max_length=24)
    if kind == "uncased":
        model.tokenizer = uncased_tokenizer()
    return model


def check_graphemes(text: str, start: int, end: int) -> None:
    """Check that a span neither begins nor ends within a grapheme; white space is one of its own."""
    for place in (start, end):
        before, after = text[:place][-1:], text[place:][:1]
        is_edge = not before or not after or before.isspace() or after.isspace()
        assert is_edge or place in {part.end() for part in regex.finditer(r"\X", text)}, (
            f"{text!a}: characters {start} to {end} begin or end within a grapheme"
        )


def check_words(model: SpanMarkerModel, items: Sequence[Any]) -> None:
    """Check that no text has special tokens, and no word a part of a grapheme."""
    are_texts = isinstance(items[0], str)
    tokenizer = model.require_tokenizer()
    reserved = set(reserved_ids(tokenizer.tokenizer).tolist())
    for item, sentence in zip(items, model.preprocessor.encode(Sentences(items, are_texts)), strict=True):
        assert not reserved & set(sentence.input_ids.tolist()), f"{item!r} has special tokens"
        for place in zip(sentence.char_starts, sentence.char_ends, strict=True) if are_texts else ():
            check_graphemes(item, *place)


def check_entities(item: str | Sequence[str], entities: list[dict[str, Any]]) -> None:
    """Check that entities stand where they say, in order and apart."""
    behind = 0
    for entity in entities:
        names = ("char_start_index", "char_end_index") if isinstance(item, str) else (
            "word_start_index", "word_end_index")  # fmt: skip
        start, end = (entity[name] for name in names)
        assert behind <= start < end <= len(item), "entities neither overlap nor change places nor leave the input"
        assert entity["span"] == (item[start:end] if isinstance(item, str) else list(item[start:end]))
        assert 0 <= entity["score"] <= 1
        if isinstance(item, str):
            check_graphemes(item, start, end)
        behind = end


def places(entities: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What is found, without its score."""
    return [tuple(value for name, value in entity.items() if name not in ("span", "score")) for entity in entities]


def is_tied(model: SpanMarkerModel, item: str | Sequence[str]) -> bool:
    """Whether a tie decides what is found, so that rounding may decide otherwise.

    Each span has its two most probable labels; and spans that overlap are compared by their scores.
    """
    entities = model.predict(
        [item], is_split_into_words=not isinstance(item, str), top_k=2, decoding="overlapping", threshold=0.0
    )[0]
    gaps = [entity["labels"][0]["score"] - entity["labels"][1]["score"] for entity in entities]
    scores = sorted(entity["score"] for entity in entities)
    gaps += [high - low for low, high in zip(scores, scores[1:])]  # noqa: B905, RUF007
    return min(gaps, default=1.0) < TOLERANCE


def check_same(model: SpanMarkerModel, item: Any, found: list[dict[str, Any]], alone: list[dict[str, Any]]) -> None:
    """Check that a sentence gives within a batch what it gives alone."""
    if places(found) != places(alone):
        assert is_tied(model, item), f"{item!r} gives {found} within the batch, and alone {alone}"
        return
    for one, other in zip(found, alone, strict=True):
        assert abs(one["score"] - other["score"]) < TOLERANCE, f"{item!r}: {one} within the batch, and alone {other}"


def check_batch(model: SpanMarkerModel, batch: list[Any]) -> None:
    """Check all that must hold of a batch, whatever is in it: strings, or lists of words."""
    are_texts = isinstance(batch[0], str)
    check_words(model, batch)
    found = model.predict(batch, is_split_into_words=not are_texts)
    assert len(found) == len(batch)
    streamed = list(model.predict_stream(iter(batch), batch_size=2, is_split_into_words=not are_texts))
    assert len(streamed) == len(batch)
    for item, entities, from_stream in zip(batch, found, streamed, strict=True):
        check_entities(item, entities)
        check_entities(item, from_stream)
        alone = model.predict([item], is_split_into_words=not are_texts)[0]
        check_same(model, item, entities, alone)
        check_same(model, item, from_stream, alone)


class Draw:
    """Random inputs, faster and longer than those of ``hypothesis``.

    Args:
        seed: Decides about all of them.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def piece(self) -> str:
        """A word, a mark, or a few characters of anywhere."""
        if self.random.random() < 0.6:
            return self.random.choice(PIECES)
        top = self.random.choice((0x80, 0x800, 0x10000, 0x110000))
        return "".join(chr(self.random.randrange(top)) for _ in range(self.random.randrange(1, 8)))

    def text(self) -> str:
        """A string, at times a blank one."""
        if self.random.random() < 0.15:
            return self.random.choice(BLANKS)
        return "".join(self.piece() + self.random.choice(("", " ", "\n")) for _ in range(self.random.randrange(20)))

    def words(self) -> list[str]:
        """A list of words, at times an empty one."""
        return [self.piece() for _ in range(self.random.randrange(16))]

    def batch(self, item: Callable[[], Any]) -> list[Any]:
        """A few items."""
        return [item() for _ in range(self.random.randrange(1, 9))]

    def long_word(self) -> list[str]:
        """A word of up to a megabyte, between others."""
        letter = self.random.choice(("a", "é", "\u0301", "\u200b", "\ud800", "\x00"))
        return [f"Paris {letter * self.random.randrange(1, 1_000_000)} Rome", "Paris"]

    def long_sentence(self) -> list[list[str]]:
        """A sentence of 10,000 words, between others."""
        return [["Paris"], [self.piece() for _ in range(10_000)], []]


def main() -> None:
    """Try random input for some minutes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    models = {kind: build(kind) for kind in KINDS}
    draw, counts = Draw(options.seed), Counter()
    end = time.monotonic() + 60 * options.minutes
    round_number = 0
    while time.monotonic() < end:
        for kind, model in models.items():
            kinds = {"texts": draw.batch(draw.text), "words": draw.batch(draw.words)}
            if round_number % 100 == 0:
                kinds |= {"long words": draw.long_word(), "long sentences": draw.long_sentence()}
            for name, batch in kinds.items():
                try:
                    check_batch(model, batch)
                except BaseException:
                    print(f"seed {options.seed}, {kind}, {name}: {ascii(batch)[:2000]}")  # noqa: T201
                    raise
                counts[kind, name, "batches"] += 1
                counts[kind, name, "items"] += len(batch)
        round_number += 1
    print("| tokenizer | input | batches | items |\n|---|---|---|---|")  # noqa: T201
    for kind in models:
        for name in ("texts", "words", "long words", "long sentences"):
            print(f"| {kind} | {name} | {counts[kind, name, 'batches']:,} | {counts[kind, name, 'items']:,} |")  # noqa: T201


if __name__ == "__main__":
    main()
