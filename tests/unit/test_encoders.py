"""Which encoders are taken, which are refused and why, and how long their texts may be."""

from dataclasses import replace

import pytest
import torch
import transformers
from tiny import ENCODERS, LABELS, SENTENCES, build_model, build_tokenizer, encoder_config
from transformers import AutoModel, initialization

from span_marker import SpanMarkerConfig, SpanMarkerModel
from span_marker.encoders import contract
from span_marker.encoders.contract import Architecture, broken_rule
from span_marker.encoders.engines import DenseEngine, FastEngine
from span_marker.encoders.families import FAMILIES, STANDARD, Family, family_of, run_standard, run_standard_dense
from span_marker.encoders.packing import POSITION_OFFSET, Texts
from span_marker.encoders.passes import TextMemory, TextPass
from span_marker.encoders.support import check_encoder, max_positions

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def save_encoder(config, folder):
    tokenizer = build_tokenizer("wordpiece").tokenizer
    config.vocab_size = len(tokenizer)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_every_family_is_tested():
    assert {encoder_config(family, 100).model_type for family in ENCODERS} == set(FAMILIES)


@pytest.mark.parametrize("family", ENCODERS)
def test_every_family_gets_the_fast_engine_and_keeps_the_contract_on_both(family):
    model = build_model(family)
    assert isinstance(model.engine, FastEngine)
    for engine in ("fast", "dense"):
        own = FAMILIES[model.config.encoder.model_type]
        assert broken_rule(Architecture.from_encoder(model.encoder), own, engine) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (transformers.ConvBertConfig(**SMALL), "'convbert' cannot .* convolutions"),
        (transformers.DebertaV2Config(**SMALL, conv_kernel_size=3), r"its convolution \(conv_kernel_size=3\)"),
        (transformers.DebertaConfig(**SMALL, talking_head=True), "talking_head=True"),
        (transformers.GPT2Config(n_layer=1), "'gpt2' cannot .*: it is a decoder"),
        (transformers.LlamaConfig(), "'llama' cannot .*: it is a decoder"),
        (transformers.BertConfig(is_decoder=True), "is_decoder=True"),
        (transformers.BartConfig(), "an encoder-decoder"),
        (transformers.ViTConfig(), "it has no vocabulary"),
        (transformers.XLNetConfig(), "takes no position IDs"),
        (transformers.BigBirdConfig(), "sparse attention"),
        (transformers.LongformerConfig(), "sparse attention"),
    ],
)
def test_encoders_refused_by_name(config, reason):
    with pytest.raises(ValueError, match=f"{reason}.*Types that can: albert, bert, camembert, deberta, deberta-v2, "):
        check_encoder(config)


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        (transformers.FNetConfig(**SMALL), "the states of the text must not depend on the markers"),
        (transformers.RoFormerConfig(**SMALL), "the state of a marker must depend on its position ID"),
    ],
)
def test_encoders_refused_by_the_contract(config, rule, tmp_path):
    save_encoder(config, tmp_path)
    with pytest.raises(ValueError, match=f"'{config.model_type}' cannot carry span markers: {rule}.*Types that can"):
        SpanMarkerModel.from_pretrained(tmp_path, labels=LABELS)


@pytest.mark.parametrize("config_class", [transformers.ErnieConfig, transformers.Data2VecTextConfig])
def test_an_encoder_that_is_not_listed_is_taken_if_it_keeps_the_contract(config_class, tmp_path):
    save_encoder(config_class(**SMALL, max_position_embeddings=60), tmp_path)
    model = SpanMarkerModel.from_pretrained(tmp_path, labels=LABELS)
    assert isinstance(model.engine, FastEngine)
    assert model.max_text_length == 58
    assert len(model.predict(SENTENCES)) == len(SENTENCES)


def test_an_encoder_that_cannot_look_its_attention_up_gets_the_dense_engine(tmp_path, caplog):
    save_encoder(transformers.SqueezeBertConfig(**SMALL, embedding_size=32), tmp_path)
    model = SpanMarkerModel.from_pretrained(tmp_path, labels=LABELS)
    assert isinstance(model.engine, DenseEngine)
    assert (
        "This encoder runs on the dense engine, which is slow, since it breaks a rule of the fast one: " in caplog.text
    )
    with pytest.raises(ValueError, match="'squeezebert' cannot carry span markers: "):
        SpanMarkerModel.from_pretrained(tmp_path, labels=LABELS, engine="fast")


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


def show_pairs_to_pairs(allowed, text_len):
    allowed[:, text_len:, text_len:] = True


def without_positions(encoder, inputs):
    return run_standard_dense(encoder, replace(inputs, position_ids=torch.zeros_like(inputs.position_ids)))


@pytest.mark.parametrize(
    ("family", "rule"),
    [
        (Family(run_standard, with_mask(show_markers_to_text)), "the states of the text must not depend"),
        (Family(run_standard, with_mask(show_pairs_to_pairs)), "the states of a marker must not depend on other pairs"),
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


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (transformers.BertConfig(), 510),
        (transformers.RobertaConfig(max_position_embeddings=514), 512),
        (transformers.ModernBertConfig(), 8192),
        (transformers.EuroBertConfig(), transformers.EuroBertConfig().max_position_embeddings),
        (transformers.DebertaV2Config(relative_attention=True, position_biased_input=False), None),
        (transformers.DebertaV2Config(relative_attention=True, position_biased_input=True), 510),
        (transformers.T5Config(), None),
        (transformers.T5Config(max_position_embeddings=512), None),
    ],
)
def test_text_limits_follow_the_encoder(config, limit):
    assert max_positions(config) == limit


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


def test_a_request_raises_the_limit_of_the_tokenizer(tmp_path):
    folder = save_encoder(encoder_config("bert", 10), tmp_path / "encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 20
    tokenizer.save_pretrained(folder)
    assert SpanMarkerModel.from_pretrained(folder, labels=LABELS).max_text_length == 20
    model = SpanMarkerModel.from_pretrained(folder, labels=LABELS, model_max_length=50)
    assert model.max_text_length == 50
    model.save_pretrained(tmp_path / "checkpoint")
    assert SpanMarkerModel.from_pretrained(tmp_path / "checkpoint").max_text_length == 50


def test_standard_is_the_family_of_the_unknown():
    config = SpanMarkerConfig(encoder=transformers.ErnieConfig(**SMALL, vocab_size=100), labels=LABELS)
    assert config.encoder.model_type not in FAMILIES
    assert SpanMarkerModel(config).engine == FastEngine(STANDARD)
