"""Every family knows its encoders: how often they attend, how many positions they have; threads share them."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny import ENCODERS, LABELS, SENTENCES, build_model, encoder_config

from span_marker import SpanMarkerConfig, SpanMarkerModel
from span_marker.core.packing import POSITION_OFFSET
from span_marker.encoders.contract import Architecture, broken_rule
from span_marker.encoders.engines import FastEngine
from span_marker.encoders.families import FAMILIES, family_of
from span_marker.encoders.packing import Texts
from span_marker.encoders.passes import TextMemory, TextPass
from span_marker.encoders.support import max_positions

ONE_OF_EACH = {FAMILIES[encoder_config(name, 100).model_type]: name for name in reversed(ENCODERS)}.values()
"""For each way to run encoders, one that runs so."""


def test_every_family_is_tested():
    assert {encoder_config(family, 100).model_type for family in ENCODERS} == set(FAMILIES)


@pytest.mark.parametrize("family", ENCODERS)
def test_every_family_gets_the_fast_engine_and_keeps_the_contract_on_both(family):
    model = build_model(family)
    assert isinstance(model.engine, FastEngine)
    for engine in ("fast", "dense"):
        own = FAMILIES[model.config.encoder.model_type]
        assert broken_rule(Architecture.from_encoder(model.encoder), own, engine) is None


class RecordingPass(TextPass):
    """A text pass that writes down which layers attend."""

    def __init__(self, texts, memory):
        super().__init__(texts, memory, ends_early=False)
        self.layers = []

    def attend(self, layer, *args):
        self.layers.append(layer)
        return super().attend(layer, *args)


def attending_layers(encoder, num_tokens):
    """Run a text of this length through an encoder of the fast engine."""
    family = family_of(encoder.config)
    texts = Texts([num_tokens], torch.arange(num_tokens) + POSITION_OFFSET, in_groups=False)
    memory = TextMemory(family.num_attention_layers(encoder.config))
    text_pass = RecordingPass(texts, memory)
    with torch.no_grad():
        embeds = encoder.get_input_embeddings()(torch.zeros(num_tokens, dtype=torch.long))
        states = family.run_packed(encoder, embeds, texts.position_ids, text_pass)
    assert states.shape == (num_tokens, encoder.config.hidden_size)
    assert memory.is_complete
    return text_pass.layers


@pytest.mark.parametrize("family", ENCODERS)
def test_every_family_knows_how_often_its_encoders_attend(family):
    encoder = build_model(family).encoder
    layers = attending_layers(encoder, 5)
    assert len(set(layers)) == len(layers) == family_of(encoder.config).num_attention_layers(encoder.config) == 3


@pytest.mark.parametrize(("num_groups", "num_in_group"), [(1, 2), (3, 2), (2, 1)])
def test_layers_of_albert_attend_once_per_layer_of_their_group(num_groups, num_in_group):
    config = encoder_config("albert", 100)
    config.num_hidden_groups, config.inner_group_num = num_groups, num_in_group
    encoder = SpanMarkerModel(SpanMarkerConfig(encoder=config, labels=LABELS)).encoder
    layers = attending_layers(encoder, 5)
    assert len(set(layers)) == len(layers) == FAMILIES["albert"].num_attention_layers(config) == 3 * num_in_group


@pytest.mark.parametrize("family", ENCODERS)
def test_every_family_knows_how_many_positions_its_encoders_have(family):
    encoder = build_model(family).encoder
    limit = family_of(encoder.config).max_positions(encoder.config)
    attending_layers(encoder, limit or 200)
    modules = {name.rpartition(".")[2]: module for name, module in encoder.named_modules()}
    if isinstance(modules.get("position_embeddings"), torch.nn.Embedding):
        with pytest.raises((IndexError, RuntimeError), match="out of (range|bounds)"):
            attending_layers(encoder, limit + 1)
    elif "rotary_emb" in modules:
        assert limit == encoder.config.max_position_embeddings == 130
    else:
        assert limit is None


@pytest.mark.parametrize("family", ["deberta", "deberta-v3", "t5", "mt5"])
def test_relative_encoders_read_texts_of_any_length(family, tmp_path):
    model = build_model(family, model_max_length=700, entity_max_length=1)
    words = ["Paris", "is", "a", "city", "."] * 40
    assert max_positions(model.config.encoder) is None
    assert len(model.tokenizer.encode_words([words])[0].input_ids) > 130  # rows of a table of positions, had it one
    with torch.no_grad():
        model.classifier.bias[0] = -100
    assert len(model.predict(words)) == len(words)


@pytest.fixture
def _few_steps(request):
    """Threads that take turns after very few steps; a single one inside of each operation, so that sums are equal."""
    interval, num_threads = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-6)
    torch.set_num_threads(1)
    yield
    sys.setswitchinterval(interval)
    torch.set_num_threads(num_threads)


@pytest.mark.usefixtures("_few_steps")
@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_threads_share_an_encoder(family):
    model = build_model(family, entity_max_length=3)
    words = [word for sentence in SENTENCES for word in sentence]
    inputs = [words[: length % 25] * (1 + length // 25) for length in (3, 24, 49, 10, 1, 99)]  # the last has windows
    expected = [model.predict(item, is_split_into_words=True) for item in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda item: model.predict(item, is_split_into_words=True), inputs * 3)
        assert list(found) == expected * 3


@pytest.mark.parametrize(
    ("rotation", "limit"),
    [
        ({"rope_type": "default"}, 130),
        ({"rope_type": "linear", "factor": 2.0}, 130),
        ({"rope_type": "dynamic", "factor": 2.0}, 128),
        (
            {
                "rope_type": "longrope",
                "factor": 2.0,
                "original_max_position_embeddings": 60,
                "short_factor": [1.0] * 4,
                "long_factor": [3.0] * 4,
            },
            58,
        ),
    ],
    ids=lambda value: value["rope_type"] if isinstance(value, dict) else "",
)
def test_rotations_that_long_texts_change_limit_texts(rotation, limit, monkeypatch):
    def with_rotation(*args):
        config = encoder_config(*args)
        config.rope_parameters = {"rope_theta": 10000.0, **rotation}
        return config

    monkeypatch.setattr("tiny.encoder_config", with_rotation)
    model = build_model("eurobert", entity_max_length=2)
    assert model.max_text_length == limit
    short, long = SENTENCES[2], SENTENCES[2] * 20
    rotations = next(module for name, module in model.encoder.named_modules() if name.endswith("rotary_emb"))
    before = rotations.inv_freq.clone()
    assert model.predict([long, short], return_coverage=True)[1][0].num_windows > 1
    assert rotations.inv_freq.equal(before)
