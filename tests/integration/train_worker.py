"""Trains and evaluates tiny models, one with a candidate filter; test_distributed.py runs it in two processes.

``python train_worker.py OUTPUT BATCH_SIZE``
"""

import gc
import os
import sys
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from datasets import Dataset  # noqa: E402
from helpers import relation_model  # noqa: E402
from tiny import build_model  # noqa: E402

from span_marker import Trainer, TrainingArguments  # noqa: E402
from span_marker.configuration import PairFilterConfig  # noqa: E402
from span_marker.heads import PairFilter  # noqa: E402
from span_marker.training import final_choices  # noqa: E402

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
    """Call every capitalized word a place."""
    return ["B-LOC" if word[:1].isupper() else "O" for word in words]


def make_trainer(
    folder: Path, batch_size: int, per_word: int | None, family: str = "bert", **arguments: Any
) -> Trainer:
    """Make a trainer of a model without dropout, by plain gradient descent, for three steps."""
    model = build_model(family, entity_max_length=3, candidates_per_word=per_word)
    if per_word is not None:
        model.add_span_filter()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    data = Dataset.from_dict({"tokens": TOKENS, "ner_tags": [tags(words) for words in TOKENS]})
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": batch_size,
        "max_steps": 3,
        "learning_rate": 0.05,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "ddp_backend": "gloo" if "WORLD_SIZE" in os.environ else None,
    }
    # An uneven number of sentences to evaluate on: the last batch of two processes is filled up, and must be cut again.
    return Trainer(model, TrainingArguments(**settings | arguments), data, data.select(range(7)))


def train(trainer: Trainer, resume: bool = False) -> dict[str, Any]:
    """Train a model and evaluate it."""
    trainer.train(resume_from_checkpoint=resume)
    metrics = trainer.evaluate()
    weights = trainer.accelerator.get_state_dict(trainer.model)
    return {
        "weights": {name: tensor.cpu() for name, tensor in weights.items()},
        "metrics": metrics,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "world_size": trainer.args.world_size,
    }


def train_all(folder: Path, batch_size: int) -> dict[str, dict[str, Any]]:
    """Train a model that gives markers to all candidates, and one with a candidate filter."""
    kinds = {"exact": None, "filtered": 1}
    return {kind: train(make_trainer(folder, batch_size, per_word)) for kind, per_word in kinds.items()}


def share_filters(rank: int, store: str) -> None:
    """Let one of two processes give the other its pair filter, and then let both go without one."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = relation_model()
    torch.manual_seed(rank)
    model.use_pair_filter(PairFilter(8), PairFilterConfig(8, float(rank), 0.9, 0.5))
    final_choices._share_pair_filter(model)
    torch.manual_seed(0)
    assert model.config.pair_filter == PairFilterConfig(8, 0.0, 0.9, 0.5)
    expected = PairFilter(8).state_dict()
    found = model.relation_head.pair_filter.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    if rank == 0:
        model.reset_pair_filter()
    final_choices._share_pair_filter(model)
    assert model.config.pair_filter is model.relation_head.pair_filter is None
    leave_group()


def leave_group() -> None:
    """Leave the group of processes, if there is one: threads of it that outlive the interpreter abort it."""
    gc.collect()  # trainers are cycles, and their models hold the group
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def main(output: str, batch_size: int) -> None:
    torch.set_num_threads(1)
    results = train_all(Path(output).parent, batch_size)
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(results, output)
    leave_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
