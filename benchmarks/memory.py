"""Shows that the memory of prediction does not grow with the number of sentences.

``python benchmarks/memory.py --data FOLDER --encoder NAME`` reads a stream of a million short sentences, those of at
most ten words among the test sentences of CoNLL data over and over, and writes down the most memory that the process
ever had after 1,000, 10,000, 100,000 and all of them. The model has the encoder's tokenizer and architecture, but one
narrow layer, so that a million sentences take minutes. Figures go to ``benchmarks/results/memory.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from speed import machine, read_conll
from transformers import AutoConfig, AutoModel, AutoTokenizer, set_seed

from span_marker import SpanMarkerModel

HERE = Path(__file__).parent

LONGEST = 10
"""Words of the longest sentence that is read."""


def narrow_model(encoder: str) -> SpanMarkerModel:
    """Make a model that costs little and finds entities everywhere."""
    set_seed(0)
    config = AutoConfig.from_pretrained(encoder)
    config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size = 1, 32, 2, 64
    with tempfile.TemporaryDirectory() as folder:
        AutoModel.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
        model = SpanMarkerModel.from_pretrained(folder, labels=["O", "X"], model_max_length=128, entity_max_length=6)
    with torch.no_grad():
        model.classifier.bias[model.config.outside_id] = -1
    return model


def read_stream(model: SpanMarkerModel, sentences: list[list[str]], counts: list[int]) -> Iterator[dict[str, Any]]:
    """Read as many sentences as the last count, and tell at each count what it took."""
    started, entities = time.perf_counter(), 0
    stream = itertools.islice(itertools.cycle(sentences), counts[-1])
    for number, found in enumerate(model.predict_stream(stream, batch_size=64), start=1):
        entities += len(found)
        if number in counts:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            yield {
                "sentences": number,
                "entities": entities,
                "mebibytes": peak,
                "seconds": time.perf_counter() - started,
            }


def main() -> None:
    """Read the stream and write down what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with test.txt in CoNLL format")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    parser.add_argument("--sentences", type=int, default=1_000_000, help="read this many")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "memory.json")
    options = parser.parse_args()
    words, _, _ = read_conll(options.data / "test.txt")
    sentences = [sentence for sentence in words if len(sentence) <= LONGEST]
    counts = [count for count in (1_000, 10_000, 100_000) if count < options.sentences] + [options.sentences]
    results: dict[str, Any] = {"machine": machine(), "longest": LONGEST, "stream": []}
    for row in read_stream(narrow_model(options.encoder), sentences, counts):
        results["stream"].append(row)
        print("{sentences:>9,} sentences, {entities:>9,} entities: {mebibytes:.0f} MiB".format(**row), flush=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
