"""The contract of encoders: each rule can fail, is tried once, and is kept whatever surrounds it."""

from dataclasses import replace

import pytest
import torch
import transformers
from tiny import LABELS, build_model, encoder_config
from transformers import initialization

from span_marker import SpanMarkerConfig, SpanMarkerModel
from span_marker.encoders import contract
from span_marker.encoders.contract import Architecture, broken_rule
from span_marker.encoders.engines import FastEngine
from span_marker.encoders.families import STANDARD, Family, run_standard, run_standard_dense


def ignoring_positions(encoder, embeds, position_ids, *args):
    return run_standard(encoder, embeds, torch.zeros_like(position_ids), *args)


def with_mask(change):
    def run(encoder, inputs):
        allowed = inputs.allowed.clone()
        change(allowed, inputs.text_len)
        return run_standard_dense(
            encoder, inputs.__class__(inputs.embeds, inputs.position_ids, allowed, inputs.text_len)
        )

    return run


def show_markers_to_text(allowed, text_len):
    allowed[:, :text_len, text_len:] = True


def show_markers_to_markers(allowed, text_len):
    allowed[:, text_len:, text_len:] = True


def without_positions(encoder, inputs):
    return run_standard_dense(encoder, replace(inputs, position_ids=torch.zeros_like(inputs.position_ids)))


@pytest.mark.parametrize(
    ("family", "rule"),
    [
        (Family(run_standard, with_mask(show_markers_to_text)), "the states of the text must not depend"),
        (
            Family(run_standard, with_mask(show_markers_to_markers)),
            "the states of a marker must not depend on other candidates",
        ),
        (Family(run_standard, without_positions), "the state of a marker must depend on its position ID"),
        (Family(ignoring_positions, run_standard_dense), "both engines must give the same states"),
    ],
)
def test_each_rule_of_the_contract_can_fail(family, rule):
    assert rule in broken_rule(Architecture.from_encoder(build_model("bert").encoder), family, "fast")


def test_the_contract_is_checked_once_and_disturbs_nothing(monkeypatch):
    runs = []
    check = contract._first_broken_rule
    monkeypatch.setattr(contract, "_first_broken_rule", lambda *args: runs.append(args) or check(*args))
    broken_rule.cache_clear()
    torch.manual_seed(7)
    first = build_model("bert", seed=1)
    state = torch.get_rng_state()
    second = build_model("bert", labels=["O", "X", "Y", "Z"], seed=1)
    assert len(runs) == 1
    broken_rule.cache_clear()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32
    torch.testing.assert_close(first.encoder.state_dict(), second.encoder.state_dict())


@pytest.mark.parametrize(
    "surroundings",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        initialization.no_init_weights,  # as DeepSpeed loads models
        lambda: torch.device("meta"),
    ],
    ids=["autocast", "no-init", "meta"],
)
def test_the_contract_is_kept_whatever_surrounds_it(surroundings):
    broken_rule.cache_clear()
    config = SpanMarkerConfig(encoder=encoder_config("bert", 100), labels=LABELS)
    with surroundings():
        assert isinstance(SpanMarkerModel(config).engine, FastEngine)
    broken_rule.cache_clear()


class Twice(transformers.BertModel):
    """Its last layer runs twice: what the fast engine notices only where texts and markers run apart."""

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.encoder.layer.append(self.encoder.layer[-1])


def test_the_contract_tries_texts_and_markers_apart():
    own = Twice(encoder_config("bert", 100), add_pooling_layer=False)
    assert "both engines must give the same states" in broken_rule(Architecture.from_encoder(own), STANDARD, "fast")
    assert broken_rule(Architecture.from_encoder(own), STANDARD, "dense") is None
