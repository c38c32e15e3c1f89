"""Ablations: what each part of SpanMarker is worth, told by models that are trained without it or with more.

``python training_scripts/ablations.py --encoder NAME_OR_PATH --data FOLDER`` trains every variant with every seed on
sentences of ``FOLDER/train.txt``, in CoNLL format, and compares the strict micro-F1 on sentences of
``FOLDER/test.txt`` with that of the unchanged model. Each run is written down as soon as it is done, so that a study
that was stopped goes on where it stopped. Models run on the dense engine, without candidate filter; a variant changes
what goes into their encoder or into their classifier, from outside.

`studies.compare_runs` says how both tests of a difference are to be read.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, set_seed

from span_marker import SpanMarkerModel, Trainer, infer_labels, read_annotations
from span_marker.core.packing import POSITION_OFFSET
from span_marker.encoders.attention import DenseInput
from span_marker.encoders.engines import PADDING_POSITION, DenseEngine, EngineInput

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from precision import short_training, spend_time_on_learning
from speed import machine
from studies import compare_runs, continue_study, count_entities, figures, spread, write_json
from tables import HERE, ablations_table

LIMITS = {"model_max_length": 128, "marker_max_length": 128, "entity_max_length": 4}
"""Tokens of a text, pairs of markers in one sample with it, words of a candidate: all but one in a hundred."""

TRAINING = {"longest_sentence": 14, "batch_size": 2, "learning_rate": 1.5e-4}
"""Training sentences are short, in words, and have entities: a short training learns most from them."""

LENGTH_SIZE = 128
"""Width of the embedding of a candidate's length."""


def change_input(model: SpanMarkerModel, change: Callable[[DenseInput], DenseInput]) -> None:
    """Let a model's encoder read something else than what the dense engine has made for it."""
    run = model.engine.family.run_dense
    family = replace(model.engine.family, run_dense=lambda encoder, inputs: run(encoder, change(inputs)))
    model.engine = replace(model.engine, family=family)


def text_and_markers(inputs: DenseInput) -> tuple[Tensor, Tensor]:
    """Which tokens are text and which are markers, without padding, ``(batch, length)`` each."""
    is_real = inputs.position_ids != PADDING_POSITION
    is_text = torch.arange(is_real.shape[1], device=is_real.device) < inputs.text_len
    return is_real & is_text, is_real & ~is_text


def between_markers(inputs: DenseInput) -> tuple[Tensor, Tensor]:
    """Where a marker looks at itself, and where at another marker, ``(batch, length, length)`` each."""
    _, is_marker = text_and_markers(inputs)
    cells = is_marker[:, :, None] & is_marker[:, None, :]
    is_self = torch.eye(cells.shape[1], dtype=torch.bool, device=cells.device)
    return cells & is_self, cells & ~is_self


def random_positions(inputs: DenseInput) -> DenseInput:
    """Markers have position IDs of random tokens of their text, drawn anew each time.

    Asks whether position IDs are how markers know their tokens. Expected: yes, and without them F1 is about 0.
    """
    is_text, is_marker = text_and_markers(inputs)
    drawn = torch.rand(is_text.shape, device=is_text.device) * is_text.sum(dim=1, keepdim=True)
    return replace(inputs, position_ids=torch.where(is_marker, drawn.long() + POSITION_OFFSET, inputs.position_ids))


def text_sees_markers(inputs: DenseInput) -> DenseInput:
    """Text attends to the markers of its sample.

    Asks whether text is read better if it knows the candidates. Expected: no, since they are simply all there are.
    """
    is_text, is_marker = text_and_markers(inputs)
    return replace(inputs, allowed=inputs.allowed | (is_text[:, :, None] & is_marker[:, None, :]))


def no_self_no_partner(inputs: DenseInput) -> DenseInput:
    """Markers attend to text alone.

    Asks whether the two of a pair must know of each other. Expected: yes; start markers of the same token become all
    the same, whatever the end, and the classifier only adds up what it makes of start and end.
    """
    to_self, to_others = between_markers(inputs)
    return replace(inputs, allowed=inputs.allowed & ~(to_self | to_others))


def no_self(inputs: DenseInput) -> DenseInput:
    """Markers attend to text and to their partner.

    Asks whether a marker must attend to itself. Expected: no; its state reaches the next layer anyway.
    """
    to_self, _ = between_markers(inputs)
    return replace(inputs, allowed=inputs.allowed & ~to_self)


def no_partner(inputs: DenseInput) -> DenseInput:
    """Markers attend to text and to themselves.

    Asks the same as `no_self_no_partner`. Expected: as much is lost.
    """
    _, to_others = between_markers(inputs)
    return replace(inputs, allowed=inputs.allowed & ~to_others)


def all_markers(inputs: DenseInput) -> DenseInput:
    """Markers attend to all markers of their sample.

    Asks whether candidates are told apart better if they see each other. Expected: worse; start markers of the same
    token look at the same markers, and are all the same again.
    """
    to_self, to_others = between_markers(inputs)
    return replace(inputs, allowed=inputs.allowed | to_self | to_others)


def length_embedding(model: SpanMarkerModel) -> None:
    """The classifier also sees an embedding of the candidate's length in words.

    Asks whether markers lack the length. Expected: no; both know both positions.
    """
    seen = {}
    model.length_embedding = nn.Embedding(model.config.entity_max_length, LENGTH_SIZE)
    widen_classifier(model, LENGTH_SIZE)

    def see_words(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen["words"] = kwargs["span_words"]

    class WithLength(DenseEngine):
        def encode(self, encoder: PreTrainedModel, batch: EngineInput) -> Tensor:
            lengths = seen["words"].diff(dim=1).squeeze(1)  # (num_spans,)
            states = super().encode(encoder, batch).flatten(1)
            return torch.cat([states, model.length_embedding(lengths - 1)], dim=1)

    model.register_forward_pre_hook(see_words, with_kwargs=True)
    model.engine = WithLength(model.engine.family, model.engine.max_candidates)


def token_states(model: SpanMarkerModel) -> None:
    """The classifier also sees the last hidden states of the candidate's first and last token.

    Asks whether markers miss anything of the tokens that they observe. Expected: no; they attend to them.
    """
    widen_classifier(model, model.classifier.in_features)

    class WithTokens(DenseEngine):
        def encode(self, encoder: PreTrainedModel, batch: EngineInput) -> Tensor:
            passes = []  # the states of the text are the same in each: it sees no marker

            def keep_text(encoder: PreTrainedModel, dense: DenseInput) -> Tensor:
                states = self.family.run_dense(encoder, dense)
                passes.append(states[:, : dense.text_len])
                return states

            engine = DenseEngine(replace(self.family, run_dense=keep_text), self.max_candidates)
            states = engine.encode(encoder, batch)  # (num_spans, 2, hidden)
            return torch.cat([states, passes[0][batch.span_sentences[:, None], batch.span_tokens]], dim=1)

    model.engine = WithTokens(model.engine.family, model.engine.max_candidates)


def mask_and_entity(model: SpanMarkerModel) -> None:
    """Start markers begin as the mask token and end markers as the word "entity", rather than near the mean token.

    Asks whether it matters where the markers' embeddings begin. Expected: hardly; they are learned.
    """
    tokenizer, table = model.require_tokenizer(), model.get_input_embeddings().weight
    word = tokenizer.tokenizer("entity", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        table[tokenizer.start_marker_id] = table[tokenizer.tokenizer.mask_token_id]
        table[tokenizer.end_marker_id] = table[word].mean(dim=0)


def widen_classifier(model: SpanMarkerModel, num_features: int) -> None:
    """Let a model's classifier see more features; its weights for the others stay as they are."""
    old, new = model.classifier, nn.Linear(model.classifier.in_features + num_features, model.classifier.out_features)
    with torch.no_grad():
        new.weight.normal_(std=model.config.encoder.initializer_range)
        new.weight[:, : old.in_features] = old.weight
        new.bias.copy_(old.bias)
    model.classifier = new


def on_input(change: Callable[[DenseInput], DenseInput]) -> Callable[[SpanMarkerModel], None]:
    """Make a variant of a function that changes what the encoder reads."""
    return functools.partial(change_input, change=change)


BASELINE = "baseline"

VARIANTS: dict[str, Callable[[SpanMarkerModel], None]] = {
    BASELINE: lambda model: None,
    "random-positions": on_input(random_positions),
    "text-sees-markers": on_input(text_sees_markers),
    "no-self-no-partner": on_input(no_self_no_partner),
    "no-self": on_input(no_self),
    "no-partner": on_input(no_partner),
    "all-markers": on_input(all_markers),
    "length-embedding": length_embedding,
    "token-states": token_states,
    "mask-and-entity": mask_and_entity,
}
"""What each does to a new model."""


def let_markers_learn(model: SpanMarkerModel) -> None:
    """Where token embeddings are frozen, add something that is learned to those of the two markers."""
    model.learned = nn.Parameter(torch.zeros(2, model.get_input_embeddings().embedding_dim))

    def add_learned(inputs: DenseInput) -> DenseInput:
        num_pairs = (inputs.embeds.shape[1] - inputs.text_len) // 2
        learned = F.pad(model.learned.repeat(num_pairs, 1), (0, 0, inputs.text_len, 0))  # (length, embed_dim)
        return replace(inputs, embeds=inputs.embeds + learned)

    change_input(model, add_learned)


def make_model(variant: str, encoder: str, labels: list[str], seed: int) -> SpanMarkerModel:
    """Make a new model and change it; those of the same seed begin with the same weights."""
    set_seed(seed)
    model = SpanMarkerModel.from_pretrained(encoder, labels=labels, engine="dense", candidates_per_word=None, **LIMITS)
    spend_time_on_learning(model)
    let_markers_learn(model)
    VARIANTS[variant](model)
    return model


def train(model: SpanMarkerModel, data: Dataset, seed: int, epochs: float) -> None:
    """Train a model on batches of sentences of about the same length, in random order."""
    size = TRAINING["batch_size"]
    by_length = np.argsort([len(words) for words in data["tokens"]], kind="stable")
    batches = np.random.default_rng(seed).permutation(by_length[len(data) % size :].reshape(-1, size))
    with tempfile.TemporaryDirectory() as folder:
        arguments = short_training(folder, seed, epochs, size)
        arguments.learning_rate, arguments.disable_tqdm = TRAINING["learning_rate"], True
        arguments.train_sampling_strategy = "sequential"
        Trainer(model=model, args=arguments, train_dataset=data.select(batches.flatten())).train()


def evaluate(model: SpanMarkerModel, test: Dataset) -> np.ndarray:
    """Count what is right, what was predicted and what is gold in each sentence, ``(num_sentences, 3)``."""
    gold = [[(entity["label"], entity["start"], entity["end"]) for entity in entities] for entities in test["entities"]]
    predicted = [
        [(entity["label"], entity["word_start_index"], entity["word_end_index"]) for entity in entities]
        for entities in model.predict(test, batch_size=8)
    ]
    return count_entities(gold, predicted)


def compare(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Compare each variant with the unchanged models of the same seeds."""
    found: dict[str, dict[int, dict[str, Any]]] = {run["variant"]: {} for run in runs}
    for run in runs:
        found[run["variant"]][run["seed"]] = run
    return {
        variant: compare_runs([found[BASELINE][seed] for seed in own], list(own.values()))
        for variant, own in found.items()
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the study, or what is missing of it.

    Args:
        arguments: Command line arguments; those of the process by default.

    Returns:
        The results.

    Raises:
        SystemExit: If the file of the results has runs with other settings.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt and test.txt in CoNLL format")
    parser.add_argument("--sentences", type=int, default=1500, help="train on this many")
    parser.add_argument("--test-sentences", type=int, default=500, help="test on this many")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="besides the baseline")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "ablations.json")
    options = parser.parse_args(arguments)

    data = read_annotations(options.data / "train.txt")
    labels = infer_labels(data)
    rows = enumerate(zip(data["tokens"], data["entities"], strict=True))
    taken = [row for row, (words, entities) in rows if entities and len(words) <= TRAINING["longest_sentence"]]
    train_data = data.select([taken[index] for index in spread(len(taken), options.sentences)])
    test_data = read_annotations(options.data / "test.txt")
    test_data = test_data.select(spread(len(test_data), options.test_sentences))
    this = machine("cuda" if torch.cuda.is_available() else "cpu")
    settings = {
        "encoder": "/".join(Path(options.encoder).parts[-2:]),
        "sentences": {"train": len(train_data), "test": len(test_data)},
        "epochs": options.epochs,
        **LIMITS,
        **TRAINING,
    }
    results = continue_study(options.results, {"machine": this, "settings": settings, "runs": []})
    done = {(run["variant"], run["seed"]) for run in results["runs"]}
    for seed in range(1, options.seeds + 1):
        for variant in dict.fromkeys([BASELINE, *options.variants]):
            if (variant, seed) in done:
                continue
            started = time.perf_counter()
            model = make_model(variant, options.encoder, labels, seed)
            train(model, train_data, seed, options.epochs)
            counts = evaluate(model, test_data)
            run = {
                "variant": variant,
                "seed": seed,
                "commit": this["commit"],
                "seconds": time.perf_counter() - started,
                **figures(counts),
            }
            results["runs"].append(run)
            results["comparisons"] = compare(results["runs"])
            write_json(options.results, results)
            print(f"{variant}, seed {seed}: F1 {run['f1']:.4f} in {run['seconds']:.0f} s", flush=True)
    print(ablations_table(results))
    return results


if __name__ == "__main__":
    main()
