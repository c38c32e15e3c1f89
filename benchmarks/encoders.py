"""Measures the families of encoders on the same text, each on both engines.

``python benchmarks/encoders.py --data FOLDER --encoder NAME`` predicts sentences of ``test.txt`` with encoders of one
size, 6 layers of width 384 with random weights, and the tokenizer of ``--encoder``. Each runs in a process of its own.
Figures go to ``benchmarks/results/encoders.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from speed import machine, read_conll
from tables import encoders_table
from transformers import CONFIG_MAPPING

from span_marker import SpanMarkerConfig, SpanMarkerModel, SpanMarkerTokenizer
from span_marker.encoders.support import max_positions

HERE = Path(__file__).parent
SIZE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
T5_SIZE = {"d_model": 384, "d_kv": 32, "d_ff": 1536, "num_layers": 6, "num_heads": 12}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SIZE,
    "roberta": SIZE,
    "xlm-roberta": SIZE,
    "xlm-roberta-xl": SIZE,
    "camembert": SIZE,
    "electra": {**SIZE, "embedding_size": 128},
    "distilbert": {"dim": 384, "n_layers": 6, "n_heads": 12, "hidden_dim": 1536},
    "albert": {**SIZE, "embedding_size": 128},
    "deberta": {**SIZE, **DISENTANGLED},
    "deberta-v2": {
        **SIZE,
        **DISENTANGLED,
        "position_buckets": 256,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "type_vocab_size": 0,
    },
    "mpnet": SIZE,
    "modernbert": SIZE,
    "eurobert": {**SIZE, "num_key_value_heads": 12},
    "nomic_bert": SIZE,
    "rembert": {**SIZE, "input_embedding_size": 128},
    "megatron-bert": SIZE,
    "mobilebert": {**SIZE, "num_attention_heads": 4, "embedding_size": 128, "intra_bottleneck_size": 128},
    "roberta-prelayernorm": SIZE,
    "t5": T5_SIZE,
    "mt5": T5_SIZE,
}
"""Families and what makes an encoder of each."""


def build(family: str, engine: Any, tokenizer: SpanMarkerTokenizer) -> SpanMarkerModel:
    """Build a model that finds nothing, so that only the engine is measured."""
    special = dict.fromkeys(("pad", "bos", "eos", "cls", "sep", "mask"), 0)
    encoder = CONFIG_MAPPING[family](
        vocab_size=len(tokenizer), **FAMILIES[family], **{f"{name}_token_id": value for name, value in special.items()}
    )
    config = SpanMarkerConfig(encoder=encoder, labels=["O", "X"], model_max_length=128, entity_max_length=6)
    model = SpanMarkerModel(config, engine=engine)
    model.tokenizer = tokenizer
    with torch.no_grad():
        model.classifier.bias[config.outside_id] = 1000
    return model.eval()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one family on one engine in this process."""
    tokenizer = SpanMarkerTokenizer.from_pretrained(options.encoder)
    model = build(options.family, options.engine, tokenizer).to(options.device)
    words, _, _ = read_conll(options.data / "test.txt")
    step = max(len(words) // options.sentences, 1)
    words = words[::step][: options.sentences]
    model.predict(words[:8])
    seconds = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        model.predict(words)
        seconds.append(time.perf_counter() - started)
    return {
        "rate": len(words) / statistics.median(seconds),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "engine": "fast" if model.can_filter else "dense",
        "text_limit": max_positions(model.config.encoder),
    }


def main() -> None:
    """Measure every family and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with test.txt in CoNLL format")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder whose tokenizer is used")
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "encoders.json")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="keep others' figures")
    parser.add_argument("--family", choices=FAMILIES, help="measure this family in this process, print, and stop")
    parser.add_argument("--engine", choices=("auto", "dense"), default="auto")
    options = parser.parse_args()
    if options.family:
        print(json.dumps(measure(options)))
        return
    results: dict[str, Any] = {"families": {}}
    if options.results.exists():
        results = json.loads(options.results.read_text(encoding="utf-8"))
    results |= {"machine": machine(options.device), "sentences": options.sentences}  # of the latest run
    for family in options.families:
        figures = {}
        for engine in ("auto", "dense"):
            command = [sys.executable, __file__, *sys.argv[1:], "--family", family, "--engine", engine]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            figures[engine] = json.loads(output.splitlines()[-1])
        results["families"][family] = {**figures, "commit": results["machine"]["commit"]}
        print(family, figures, flush=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(encoders_table(results))


if __name__ == "__main__":
    main()
