"""Which encoders are taken, which are refused and why, and how long their texts may be."""

import pytest
import transformers
from tiny import LABELS, SENTENCES, build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import SpanMarkerConfig, SpanMarkerModel
from span_marker.encoders.engines import DenseEngine, FastEngine
from span_marker.encoders.families import FAMILIES, STANDARD
from span_marker.encoders.support import check_encoder, max_positions

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def save_encoder(config, folder):
    tokenizer = build_tokenizer("wordpiece").tokenizer
    config.vocab_size = len(tokenizer)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
        "This encoder runs on the dense engine, which is slow, because it breaks a rule of the fast engine: "
        in caplog.text
    )
    with pytest.raises(ValueError, match="'squeezebert' cannot carry span markers: "):
        SpanMarkerModel.from_pretrained(tmp_path, labels=LABELS, engine="fast")


def test_standard_is_the_family_of_the_unknown():
    config = SpanMarkerConfig(encoder=transformers.ErnieConfig(**SMALL, vocab_size=100), labels=LABELS)
    assert config.encoder.model_type not in FAMILIES
    assert SpanMarkerModel(config).engine == FastEngine(STANDARD)


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
