"""Shows that the memory of prediction does not grow with the number of sentences.

``python benchmarks/memory.py --data FOLDER --encoder NAME`` predicts 1,000, 10,000 and 100,000 sentences, the test
sentences of CoNLL data over and over, each number in a process of its own. The model has the encoder's tokenizer and
architecture, but one narrow layer, and finds no entity, so that results take no room. Figures go to
``benchmarks/results/memory.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from speed import machine, read_conll
from transformers import AutoConfig, AutoModel, AutoTokenizer

from span_marker import SpanMarkerModel

HERE = Path(__file__).parent


def peak_memory(data: Path, encoder: str, num_sentences: int) -> float:
    """Predict in this process and return the most memory that it ever had, in MiB."""
    words, _, _ = read_conll(data / "test.txt")
    sentences = (words * (num_sentences // len(words) + 1))[:num_sentences]
    config = AutoConfig.from_pretrained(encoder)
    config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size = 1, 32, 2, 64
    with tempfile.TemporaryDirectory() as folder:
        AutoModel.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
        model = SpanMarkerModel.from_pretrained(folder, labels=["O", "X"], model_max_length=128, entity_max_length=6)
    with torch.no_grad():
        model.classifier.bias[model.config.outside_id] = 100
    assert not any(model.predict(sentences, batch_size=32))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Measure every number of sentences and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with test.txt in CoNLL format")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "memory.json")
    parser.add_argument("--count", type=int, help="predict this many sentences in this process, print the memory, stop")
    options = parser.parse_args()
    if options.count:
        print(peak_memory(options.data, options.encoder, options.count))
        return
    peaks = {}
    for count in (1_000, 10_000, 100_000):
        command = [sys.executable, __file__, "--data", str(options.data), "--encoder", options.encoder]
        output = subprocess.run([*command, "--count", str(count)], check=True, capture_output=True, text=True).stdout
        peaks[count] = float(output.splitlines()[-1])
        print(f"{count:>7,} sentences: {peaks[count]:.0f} MiB", flush=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(
        json.dumps({"machine": machine(), "mebibytes": peaks}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
