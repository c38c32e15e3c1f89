"""Models with fewer layers."""

import copy

import pytest
import torch
from helpers import batch_logits
from tiny import ENCODERS, SENTENCES, build_model
from torch.testing import assert_close

from span_marker import SpanMarkerModel
from span_marker.compression import shrink
from span_marker.compression.layers import kept_layers


def scores(model):
    """The class scores of all candidates of `SENTENCES`."""
    return torch.cat(batch_logits(model, SENTENCES)).detach()


def without_layers(model, kept):
    """The same model, whose other layers were taken out of it with pliers."""
    model = copy.deepcopy(model)
    model.config.encoder.num_hidden_layers = len(kept)
    for module in model.encoder.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == 3:
                setattr(module, name, torch.nn.ModuleList(child[layer] for layer in kept))
    return model


@pytest.mark.parametrize("family", ENCODERS)
def test_the_layers_that_are_left_do_what_they_did(family):
    model = build_model(family, entity_max_length=3, reads_tokens=family != "albert")
    assert_close(scores(shrink(model, 3)), scores(model))
    smaller = shrink(model, 2)
    assert smaller.num_parameters() < model.num_parameters() or family == "albert"
    assert smaller.config.encoder.num_hidden_layers == 2
    assert_close(scores(smaller), scores(without_layers(model, [0, 2])))


def test_a_smaller_model_is_an_ordinary_checkpoint(tmp_path):
    model = build_model("bert", entity_max_length=3, letter_case=True)
    model.config.thresholds, model.config.calibration_temperature = {"PER": 0.9}, 2.0
    smaller = shrink(model, 1)
    assert (smaller.config.thresholds, smaller.config.calibration_temperature) == (None, 1.0)
    smaller.save_pretrained(tmp_path)
    assert_close(scores(SpanMarkerModel.from_pretrained(tmp_path)), scores(smaller))


def test_relations_are_copied():
    model = build_model("bert", reads_tokens=True, relation_labels=["knows"], symmetric_relations=["knows"])
    assert_close(shrink(model, 3).relation_head.state_dict(), model.relation_head.state_dict())
    assert shrink(model, 3).predict(SENTENCES, relations=True) == model.predict(SENTENCES, relations=True)
    model.config.relation_thresholds = {"knows": 0.9}
    smaller = shrink(model, 1)
    assert smaller.config.symmetric_relations == ["knows"]
    assert smaller.config.relation_thresholds is None


def test_the_card_says_what_is_left(tmp_path):
    smaller = shrink(shrink(build_model("bert", entity_max_length=3), 2), 1)
    line = "- **Layers:** 2 of 3 (0, 2, counted from 0); then 1 of 2 (0, counted from 0)"
    assert line in smaller.generate_model_card().splitlines()
    smaller.save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    loaded.card_text = None  # as by Trainer
    assert line in loaded.generate_model_card().splitlines()
    assert "**Layers:**" not in build_model("bert", entity_max_length=3).generate_model_card()


def test_the_model_itself_stays():
    model = build_model("bert", entity_max_length=3)
    before, config = copy.deepcopy(model.state_dict()), model.config.to_dict()
    with torch.no_grad():
        for parameter in shrink(model, 2).parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.config.to_dict() == config


@pytest.mark.parametrize("num_layers", range(1, 13))
def test_layers_are_spread_evenly(num_layers):
    for num_kept in range(1, num_layers + 1):
        layers = kept_layers(num_layers, num_kept)
        assert len(set(layers)) == num_kept
        assert layers[0] == 0
        assert num_kept == 1 or layers[-1] == num_layers - 1


@pytest.mark.parametrize(
    ("num_layers", "error", "message"),
    [(0, ValueError, "at least 1"), (4, ValueError, "at most 3"), (1.5, TypeError, "whole number")],
)
def test_impossible_numbers_are_refused(num_layers, error, message):
    with pytest.raises(error, match=message):
        shrink(build_model("bert"), num_layers)


def test_only_models_with_ordinary_weights():
    with pytest.raises(TypeError, match="must be a SpanMarkerModel"):
        shrink("folder", 2)
    model = build_model("bert")
    model.peft_config = {"default": None}
    with pytest.raises(ValueError, match="merge the adapter"):
        shrink(model, 2)
