"""Compares this library with what the published one predicted.

``python benchmarks/parity.py --fixture FOLDER``, where the folder holds ``checkpoint/`` and ``predictions.json`` as
``tests/fixtures/published`` does. Exits with 1 unless everything is equal.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

from span_marker import SpanMarkerModel

SCORE_TOLERANCE = 1e-4


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Tell whether two lists of entities are equal, scores to `SCORE_TOLERANCE`."""
    return len(found) == len(expected) and all(
        set(one) == set(other)
        and all(
            abs(one[key] - other[key]) <= SCORE_TOLERANCE if key == "score" else one[key] == other[key] for key in one
        )
        for one, other in zip(found, expected, strict=True)
    )


def compare(fixture: Path, engine: str = "auto", checkpoint: Path | None = None) -> dict[str, list[bool]]:
    """Predict everything in a fixture that is within the text limit: the published library cuts the rest.

    Args:
        fixture: The folder with ``checkpoint/`` and ``predictions.json``.
        engine: The engine.
        checkpoint: Another place of the checkpoint.

    Returns:
        Whether the entities of each sentence that was not cut are equal, for ``strings``, ``words`` and ``documents``.
    """
    expected = json.loads((fixture / "predictions.json").read_text(encoding="utf-8"))
    model = SpanMarkerModel.from_pretrained(checkpoint or fixture / "checkpoint", engine=engine)
    columns = ("tokens", "document_id", "sentence_id")
    documents = Dataset.from_list([{name: row[name] for name in columns} for row in expected["documents"]])
    inputs = {
        "strings": Dataset.from_dict({"text": [row["input"] for row in expected["strings"]]}),
        "words": [row["input"] for row in expected["words"]],
        "documents": documents,
    }
    equal: dict[str, list[bool]] = {}
    for name, sentences in inputs.items():
        rows = zip(*model.predict(sentences, return_coverage=True), expected[name], strict=True)
        equal[name] = [same(one, row["entities"]) for one, coverage, row in rows if coverage.num_windows == 1]
    return equal


def main() -> None:
    """Compare on both engines and print how much is equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixture", type=Path, required=True)
    fixture = parser.parse_args().fixture
    failed = False
    for engine in ("fast", "dense"):
        for name, equal in compare(fixture, engine).items():
            print(f"{engine:<6} {name:<10} {sum(equal)} of {len(equal)} equal")
            failed |= not all(equal)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
