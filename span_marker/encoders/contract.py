"""The contract that encoders must fulfill to support span markers, and its check on a small random copy.

Text must not see markers, a marker must know its position and must not see another candidate, and both engines must
agree. If text sees markers, or candidates see each other, scores depend on which candidates are scored together; if
markers do not know their positions, the model learns nothing.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from span_marker.encoders.engines import DenseEngine, EngineInput, FastEngine, dense_input
from span_marker.encoders.families import Family

EngineName = Literal["fast", "dense"]

TOLERANCE = 1e-4
"""The maximum difference that counts as a rounding error, relative to the largest state."""

VOCABULARY = 32
"""Vocabulary size of the small copy."""


@dataclass(frozen=True)
class Architecture:
    """The properties that determine whether an encoder fulfills the contract: class and configuration, not weights.

    Attributes:
        encoder_class: Class of the encoder.
        config_class: Class of its configuration.
        config: The configuration of a small copy, as JSON.
    """

    encoder_class: type[PreTrainedModel]
    config_class: type[PreTrainedConfig]
    config: str

    @classmethod
    def from_encoder(cls, encoder: PreTrainedModel) -> Architecture:
        """Describe the architecture of an encoder.

        Args:
            encoder: The encoder.

        Returns:
            Its architecture.
        """
        config = copy.deepcopy(encoder.config)
        config.num_labels, config._name_or_path = 2, ""
        config.vocab_size = VOCABULARY
        for name in [name for name in vars(config) if name.endswith("_token_id")]:
            setattr(config, name, 0)
        num_layers = 2
        types = getattr(config, "layer_types", None)
        if types:  # the fewest layers that include each type
            num_layers = max(num_layers, 1 + max(types.index(kind) for kind in set(types)))
            config.layer_types = types[:num_layers]
        config.num_hidden_layers = max(num_layers, getattr(config, "num_hidden_groups", 0))
        if getattr(config, "sliding_window", None):
            config.sliding_window = 2  # so that local layers have an effect on short texts
        return cls(type(encoder), type(config), config.to_json_string(use_diff=False))


@functools.cache
def broken_rule(architecture: Architecture, family: Family, engine: EngineName) -> str | None:
    """Check whether an architecture fulfills the contract.

    Args:
        architecture: The architecture.
        family: How encoders of the architecture run.
        engine: The engine to check.

    Returns:
        The first rule that the architecture breaks; None if it fulfills the contract.
    """
    try:
        with _undisturbed(), torch.no_grad():
            encoder = _small_copy(architecture)
            return _first_broken_rule(encoder, family, engine)
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError) as error:
        return f"it must run with token embeddings, position IDs and a mask for each token: {error}"


def _first_broken_rule(encoder: PreTrainedModel, family: Family, engine: EngineName) -> str | None:
    batch = EngineInput(
        input_ids=torch.tensor([[3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 0, 0]]),
        attention_mask=torch.arange(6) < torch.tensor([[6], [4]]),
        span_tokens=torch.tensor([[1, 1], [0, 4], [2, 3], [1, 2], [0, 0]]),
        span_counts=[3, 2],
        marker_ids=torch.tensor([1, 2]),
    )
    moved = replace(batch, span_tokens=batch.span_tokens.index_fill(0, torch.tensor([1]), 5))
    dense = DenseEngine(family, max_candidates=8)
    dense.prepare(encoder)
    states, moved_states = dense.encode(encoder, batch), dense.encode(encoder, moved)
    scale = float(states.abs().max()) * TOLERANCE

    alone, beside = (
        family.run_dense(encoder, dense_input(encoder, batch, torch.full((2, count, 2), 1), mask))[:, :6]
        for count, mask in ((0, torch.ones(2, 0, dtype=torch.bool)), (3, torch.ones(2, 3, dtype=torch.bool)))
    )
    if not _difference(alone[batch.attention_mask], beside[batch.attention_mask]) <= scale:
        return "the states of the text must not depend on the markers"
    unmoved = torch.tensor([0, 2, 3, 4])
    if not _difference(states[unmoved], moved_states[unmoved]) <= scale:
        return "the states of a marker must not depend on other candidates"
    if not _difference(states[1], moved_states[1]) > scale:
        return "the state of a marker must depend on its position ID"
    if engine == "fast":
        for max_markers in (None, 4):  # texts and markers together, and in separate passes
            fast = FastEngine(family, max_markers)
            fast.prepare(encoder)
            if not _difference(fast.encode(encoder, batch), states) <= scale:
                return "both engines must give the same states"
    return None


def _difference(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())


def _small_copy(architecture: Architecture) -> PreTrainedModel:
    """Build an encoder of the architecture, with random weights large enough for every effect to show in the states."""
    config = architecture.config_class.from_dict(json.loads(architecture.config))
    encoder = architecture.encoder_class(config).float().eval()
    for name, parameter in encoder.named_parameters():  # all, since some loaders turn off initialization
        if parameter.dim() > 1:
            parameter.normal_(std=1.5 * parameter.shape[-1] ** -0.5)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return encoder


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Isolate a ``with`` block from the state of the process: random state, default device, autocast."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.autocast("cpu", enabled=False):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would also seed accelerators
        yield
