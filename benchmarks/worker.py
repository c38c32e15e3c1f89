"""Measures one library in one process; `speed.py` starts it, in either library's environment, and talks to it.

Each line on standard input is a JSON list ``[task, arguments]``, each line of the answer a JSON object. The same code
runs with this library and with the published one: it uses only what both have.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset

STATE: dict[str, Any] = {}


def load(checkpoint: str, data: dict[str, Any], device: str, dtype: str = "float32") -> None:
    """Load a model and keep the data: its columns are ``tokens``, ``ner_tags`` and ``document_id``."""
    from span_marker import SpanMarkerModel

    model = SpanMarkerModel.from_pretrained(checkpoint)
    STATE["model"] = model.to(device=device, dtype=getattr(torch, dtype))
    STATE.update(checkpoint=checkpoint, device=device, **data)


def spread(num_sentences: int) -> list[list[str]]:
    """Take sentences from the whole of the data at even distances."""
    sentences: list[list[str]] = STATE["tokens"]
    return sentences[:: len(sentences) // num_sentences][:num_sentences]


def predict(batch_size: int, num_sentences: int, **options: Any) -> dict[str, Any]:
    """Predict sentences once; options are those that only one library has."""
    sentences = spread(num_sentences)
    started = time.perf_counter()
    entities = STATE["model"].predict(sentences, batch_size=batch_size, **options)
    return {"seconds": time.perf_counter() - started, "entities": entities}


def predict_documents(batch_size: int, num_sentences: int) -> dict[str, Any]:
    """Predict the first sentences in the context of their documents."""
    documents = STATE["document_id"][:num_sentences]
    places = [index - documents.index(document) for index, document in enumerate(documents)]
    columns = {"tokens": STATE["tokens"][:num_sentences], "document_id": documents, "sentence_id": places}
    started = time.perf_counter()
    entities = STATE["model"].predict(Dataset.from_dict(columns), batch_size=batch_size)
    return {"seconds": time.perf_counter() - started, "entities": entities}


def latency(num_sentences: int) -> dict[str, Any]:
    """Predict sentences one at a time."""
    seconds = []
    for words in spread(num_sentences):
        started = time.perf_counter()
        STATE["model"].predict([words])
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds)}


def classify_tokens(encoder: str, batch_size: int, num_sentences: int) -> dict[str, Any]:
    """Classify the tokens of sentences once with the same encoder, in batches of similar length: the limit of speed."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    if "token_classifier" not in STATE:
        model = AutoModelForTokenClassification.from_pretrained(encoder, num_labels=9).eval().to(STATE["device"])
        STATE["token_classifier"] = AutoTokenizer.from_pretrained(encoder, add_prefix_space=True), model
    tokenizer, model = STATE["token_classifier"]
    started = time.perf_counter()
    sentences = sorted(spread(num_sentences), key=len)
    with torch.inference_mode():
        for first in range(0, num_sentences, batch_size):
            batch = tokenizer(
                sentences[first : first + batch_size],
                is_split_into_words=True,
                truncation=True,
                padding=True,
                return_tensors="pt",
            )
            model(**batch.to(STATE["device"])).logits.argmax(-1).cpu()
    return {"seconds": time.perf_counter() - started}


def train(batch_size: int, num_steps: int) -> dict[str, Any]:
    """Train for some steps, after two to warm up, and say how long a step took."""
    num_steps += 2
    trainer = _trainer(_fresh_model(), batch_size, num_steps, num_steps)
    moments: list[float] = []
    step = trainer.training_step
    trainer.training_step = lambda *a, **k: moments.append(time.perf_counter()) or step(*a, **k)
    trainer.train()
    moments.append(time.perf_counter())
    return {"seconds": (moments[-1] - moments[2]) / (num_steps - 2)}


def prepare(batch_size: int, num_sentences: int) -> dict[str, Any]:
    """Make a trainer and read every batch of its data, without the model."""
    model = _fresh_model()
    num_batches = -(-num_sentences // batch_size)
    started = time.perf_counter()
    for _ in _trainer(model, batch_size, num_batches, num_batches).get_train_dataloader():
        pass
    return {"seconds": time.perf_counter() - started}


def _fresh_model() -> Any:
    from span_marker import SpanMarkerModel

    return SpanMarkerModel.from_pretrained(STATE["checkpoint"])


def _trainer(model: Any, batch_size: int, num_batches: int, max_steps: int) -> Any:
    from transformers import TrainingArguments

    from span_marker import Trainer

    size = batch_size * num_batches
    data = Dataset.from_dict({"tokens": STATE["tokens"][:size], "ner_tags": STATE["ner_tags"][:size]})
    folder = os.path.join(os.path.dirname(STATE["checkpoint"]), "trainer")
    args = TrainingArguments(
        folder,
        max_steps=max_steps,
        per_device_train_batch_size=batch_size,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        seed=0,
        use_cpu=STATE["device"] == "cpu",
    )
    return Trainer(model=model, args=args, train_dataset=data)


def memory() -> dict[str, Any]:
    """The most memory that this process ever had, on the GPU if it works there, in MiB."""
    if STATE["device"] == "cpu":
        return {"mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}
    return {"mebibytes": torch.cuda.max_memory_allocated() / 2**20}


TASKS = {
    task.__name__: task for task in (load, predict, predict_documents, latency, classify_tokens, train, prepare, memory)
}


def main(tasks: dict[str, Callable[..., dict[str, Any] | None]]) -> None:
    """Run tasks until standard input ends; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            task, arguments = json.loads(line)
            answers.write(json.dumps(tasks[task](**arguments) or {}) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(TASKS)
