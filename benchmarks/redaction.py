"""Speed of redaction, rules and propagation: megabytes of text per second of a processor, one byte per character.

``python benchmarks/redaction.py`` redacts a stream of texts of random words in each way, with an entity every 60
characters, as dense as in news. It then finds 100,000 phrases and three expressions in them, and propagates their
names. Texts have 2,000 characters each.

``--checkpoint FOLDER`` also predicts some of the texts with a model, with and without rules and propagation.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

from span_marker import SpanMarkerModel
from span_marker.prediction.propagation import Propagation, propagate_names
from span_marker.preprocessing.inputs import Sentences
from span_marker.redaction import Redactor, restore
from span_marker.redaction.placeholders import WAYS
from span_marker.rules import ListRule, RegexRule, Rules

TEXT_LENGTH, DISTANCE, NUM_NAMES, NUM_PHRASES, NUM_PREDICTED = 2000, 60, 5000, 100_000, 50

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


def random_rules(seed: int = 1) -> Rules:
    """A list of phrases of two or three words, and three expressions."""
    rng = random.Random(seed)
    phrases = [" ".join(random_word(rng, True) for _ in range(rng.randint(2, 3))) for _ in range(NUM_PHRASES)]
    expressions = [
        RegexRule("IBAN", r"\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b"),
        RegexRule("EMAIL", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
        RegexRule("DATE", r"\b\d{4}-\d{2}-\d{2}\b"),
    ]
    return Rules([ListRule("LIST", phrases), *expressions])


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


def measure_prediction(rows: list[Row], rules: Rules, checkpoint: str) -> None:
    """Print what rules and propagation add to a prediction."""
    model = SpanMarkerModel.from_pretrained(checkpoint)
    texts = [text for text, _ in rows[:NUM_PREDICTED]]
    alone = seconds(lambda: model.predict(texts))
    model.rules = rules
    together = seconds(lambda: model.predict(texts, propagate=True))
    print(f"prediction: {alone:.2f} s, with rules and propagation {together:.2f} s ({together / alone - 1:+.1%})")


def main() -> None:
    """Print what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=4.0)
    parser.add_argument("--checkpoint")
    arguments = parser.parse_args()
    rows, rules = random_rows(int(arguments.megabytes * 1e6)), random_rules()
    size = sum(len(text) for text, _ in rows) / 1e6
    print(f"{size:.1f} MB, {sum(len(entities) for _, entities in rows):,} entities in {len(rows):,} texts")
    measure_redaction(rows, size)
    rules.find("")
    measure_finding(rows, size, rules)
    if arguments.checkpoint:
        measure_prediction(rows, rules, arguments.checkpoint)


if __name__ == "__main__":
    main()
