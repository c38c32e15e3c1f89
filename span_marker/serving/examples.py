"""Example requests for the API description."""

from typing import Any

PREDICT: dict[str, Any] = {
    "one text": {"inputs": "Amelia Earhart flew to Paris."},
    "several texts": {"inputs": ["Amelia Earhart flew to Paris.", "Cleopatra ruled Egypt."], "threshold": 0.5},
    "words": {"inputs": [["Cleopatra", "ruled", "Egypt"]], "top_k": 2},
    "for JavaScript": {"inputs": "\N{AIRPLANE} Paris", "offsets": "utf-16", "decoding": "nested"},
}

LINES = '{"id": 1, "text": "Amelia Earhart flew to Paris."}\n{"id": 2, "tokens": ["Cleopatra", "ruled", "Egypt"]}\n'

TASK: dict[str, Any] = {
    "as InferenceClient sends it": {
        "inputs": "Amelia Earhart flew to Paris.",
        "parameters": {"aggregation_strategy": "simple"},
    }
}
