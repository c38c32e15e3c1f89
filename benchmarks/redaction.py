"""Speed of redaction and of what is found without a model: megabytes of text per second, on one core.

``python benchmarks/redaction.py`` redacts a text of random words in each way, with an entity every 60 characters, as
dense as in news. Texts have 2,000 characters each; one character is one byte.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

from span_marker.redaction import Redactor, restore
from span_marker.redaction.placeholders import WAYS

TEXT_LENGTH, DISTANCE, NUM_NAMES = 2000, 60, 5000

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


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=4.0)
    rows = random_rows(int(parser.parse_args().megabytes * 1e6))
    size = sum(len(text) for text, _ in rows) / 1e6
    print(f"{size:.1f} MB, {sum(len(entities) for _, entities in rows):,} entities in {len(rows):,} texts")
    for how in WAYS:
        key = "k" * 32 if how == "hash" else None

        def run(how: Any = how, key: Any = key) -> list[Any]:
            redactor = Redactor(how, key=key)
            return [redactor.redact(*row) for row in rows]

        redacted = run()
        assert [restore(result) for result in redacted] == [text for text, _ in rows]
        back = seconds(lambda redacted=redacted: [restore(result) for result in redacted])
        print(f"{how:10} {size / seconds(run):6.1f} MB/s   restored: {size / back:6.1f} MB/s")


if __name__ == "__main__":
    main()
