"""Trains and evaluates a tiny model; run by test_distributed.py, alone and under torchrun.

``python train_worker.py OUTPUT BATCH_SIZE``
"""

import os
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from datasets import Dataset  # noqa: E402
from tiny import build_model  # noqa: E402

from span_marker import Trainer, TrainingArguments  # noqa: E402

TOKENS = [
    ["Amelia", "Earhart", "flew", "across", "the", "Atlantic", "."],
    ["Paris"],
    [],
    ["Cleopatra", "ruled", "Egypt"],
    ["Leonardo", "da", "Vinci", "painted", "the", "Mona", "Lisa", "in", "Florence", ",", "Italy"],
    ["Andorra", "is", "between", "France", "and", "Spain"],
    ["Nobody", "knows"],
    ["Tokyo", ",", "Paris", "and", "New", "York", "are", "cities"],
]


def tags(words: list[str]) -> list[str]:
    """Call every capitalised word a place."""
    return ["B-LOC" if word[:1].isupper() else "O" for word in words]


def main(output: str, batch_size: int) -> None:
    torch.set_num_threads(1)
    model = build_model("bert", entity_max_length=3)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    data = Dataset.from_dict({"tokens": TOKENS, "ner_tags": [tags(words) for words in TOKENS]})
    args = TrainingArguments(
        output_dir=str(Path(output).parent),
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        max_steps=3,
        learning_rate=0.05,
        optim="sgd",
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        ddp_backend="gloo" if "WORLD_SIZE" in os.environ else None,
    )
    # An uneven number of sentences to evaluate on: the last batch of two processes is filled up, and must be cut again.
    trainer = Trainer(model, args, data, data.select(range(7)))
    trainer.train()
    metrics = trainer.evaluate()
    if trainer.is_world_process_zero():
        weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
        torch.save({"weights": weights, "metrics": metrics, "world_size": args.world_size}, output)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
