"""Speed of redaction, rules and propagation: megabytes of text per second of a processor, one byte per character.

``python benchmarks/redaction.py`` redacts a stream of texts of random words in each way, with an entity every 60
characters, as dense as in news. It then finds 100,000 phrases and three expressions in them, and propagates their
names. Texts have 2,000 characters each.

``--checkpoint FOLDER`` also lets a model read the sentences of the bundled corpus: alone, with the rules, with
propagation, and with both, in turns.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from span_marker import SpanMarkerModel, read_annotations
from span_marker.prediction.propagation import Propagation, propagate_names
from span_marker.preprocessing.inputs import Sentences
from span_marker.redaction import Redactor, restore
from span_marker.redaction.placeholders import WAYS
from span_marker.rules import ListRule, RegexRule, Rules

HERE = Path(__file__).parent

TEXT_LENGTH, DISTANCE, NUM_NAMES, NUM_PHRASES, NUM_SENTENCES = 2000, 60, 5000, 100_000, 20

Row = tuple[str, list[dict[str, Any]]]


def random_word(rng: random.Random, capital: bool = False) -> str:
    """A word of one to four syllables."""
    word = "".join(rng.choice("ka lo mi ren ta sho ber gin du pa ven qui".split()) for _ in range(rng.randint(1, 4)))
    return word.title() if capital else word


def random_rows(num_bytes: int, seed: int = 0) -> list[Row]:
    """Texts with entities, whose names repeat."""
    rng = random.Random(seed)
    names = [f"{random_word(rng, True)} {random_word(rng, True)}" for _ in range(NUM_NAMES)]
    rows: list[Row] = []
    for _ in range(num_bytes // TEXT_LENGTH):
        text, entities = "", []
        while len(text) < TEXT_LENGTH:
            name = names[min(int(rng.expovariate(1 / 500)), NUM_NAMES - 1)]
            entity = {"span": name, "label": rng.choice(["PER", "ORG", "LOC"]), "score": 0.9}
            entities.append({**entity, "char_start_index": len(text), "char_end_index": len(text) + len(name)})
            text += name
            while len(text) < len(entities) * DISTANCE:
                text += " " + random_word(rng)
            text += " "
        rows.append((text, entities))
    return rows


def seconds(run: Callable[[], Any], times: int = 3) -> float:
    """The least time that a function takes on a processor."""
    least = float("inf")
    for _ in range(times):
        start = time.process_time()
        run()
        least = min(least, time.process_time() - start)
    return least


def random_rules(names: Sequence[str] = (), seed: int = 1) -> Rules:
    """A list of names and of phrases of two or three words, and three expressions."""
    rng = random.Random(seed)
    phrases = [" ".join(random_word(rng, True) for _ in range(rng.randint(2, 3))) for _ in range(NUM_PHRASES)]
    expressions = [
        RegexRule("IBAN", r"\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b"),
        RegexRule("EMAIL", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
        RegexRule("DATE", r"\b\d{4}-\d{2}-\d{2}\b"),
    ]
    return Rules([ListRule("LIST", [*names, *phrases]), *expressions])


def measure_redaction(rows: list[Row], size: float) -> None:
    """Print a line for each way."""
    for how in WAYS:
        key = "k" * 32 if how == "hash" else None

        def run(how: Any = how, key: Any = key) -> None:
            redactor = Redactor(how, key=key)
            for row in rows:
                redactor.redact(*row)

        redactor = Redactor(how, key=key)
        redacted = [redactor.redact(*row) for row in rows]
        assert [restore(result) for result in redacted] == [text for text, _ in rows]
        back = seconds(lambda redacted=redacted: [restore(result) for result in redacted])
        print(f"{how:10} {size / seconds(run):6.1f} MB/s   restored: {size / back:6.1f} MB/s")


def measure_finding(rows: list[Row], size: float, rules: Rules) -> None:
    """Print a line for rules, and one for propagation."""
    sentences = Sentences([text for text, _ in rows], True)
    entities: list[Any] = [entities[:10] for _, entities in rows]
    of_rules = seconds(lambda: [rules.apply(*row) for row in rows])
    of_names = seconds(lambda: propagate_names(sentences, entities, Propagation()))
    print(f"{len(rules.rules)} rules with {NUM_PHRASES:,} phrases: {size / of_rules:.1f} MB/s")
    print(f"propagation of 10 names per text: {size / of_names:.1f} MB/s")


def measure_prediction(checkpoint: str, num_rounds: int) -> None:
    """Print what rules and propagation add to a prediction: medians over rounds, and the middle half of the shares.

    The list has the gold entities of the sentences, too, so that it finds as much as the model.
    """
    rows = read_annotations(HERE.parent / "training_scripts" / "corpus" / "test.txt", format="inline")
    texts = [row["text"] for row in rows]
    documents = ["\n".join(texts[first : first + NUM_SENTENCES]) for first in range(0, len(texts), NUM_SENTENCES)]
    rules = random_rules([row["text"][e["start"] : e["end"]] for row in rows for e in row["entities"]])
    model = SpanMarkerModel.from_pretrained(checkpoint)
    ways = {"alone": (None, False), "rules": (rules, False), "propagation": (None, True), "both": (rules, True)}
    for name, inputs in (("sentences", texts), ("documents", documents)):
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(num_rounds + 1):
            for way, (own_rules, propagate) in ways.items():
                model.rules = own_rules
                start = time.process_time()
                model.predict(inputs, is_split_into_words=False, propagate=propagate)
                if number:  # the first round warms up
                    taken[way].append(time.process_time() - start)
        print(f"{len(inputs)} {name}, {sum(map(len, inputs)):,} characters, {num_rounds} rounds")
        for way, times in taken.items():
            shares = [time / alone - 1 for time, alone in zip(times, taken["alone"], strict=True)]
            low, middle, high = statistics.quantiles(shares, n=4)
            print(f"  {way:12} {statistics.median(times):.3f} s, {middle:+.1%} ({low:+.1%} to {high:+.1%})")


def main() -> None:
    """Print what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=4.0)
    parser.add_argument("--checkpoint")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    rows, rules = random_rows(int(arguments.megabytes * 1e6)), random_rules()
    size = sum(len(text) for text, _ in rows) / 1e6
    print(f"{size:.1f} MB, {sum(len(entities) for _, entities in rows):,} entities in {len(rows):,} texts")
    measure_redaction(rows, size)
    rules.find("")
    measure_finding(rows, size, rules)
    if arguments.checkpoint:
        measure_prediction(arguments.checkpoint, arguments.rounds)


if __name__ == "__main__":
    main()
