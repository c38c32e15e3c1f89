"""An encoder with code of its own runs only where the caller says so."""

import json
import textwrap

import pytest
from tiny import LABELS, SENTENCES, build_model, build_tokenizer

from span_marker import SpanMarkerModel

CONFIGURATION = """
    from pathlib import Path
    from transformers import BertConfig

    Path(__file__).with_name("has-run").touch()

    class OwnConfig(BertConfig):
        model_type = "own-bert"
"""

MODELING = """
    from transformers import BertModel

    from .configuration_own import OwnConfig

    class OwnModel(BertModel):
        config_class = OwnConfig
"""


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A folder with an encoder whose classes are defined in its own files, as on the Hub."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "configuration_own.py").write_text(textwrap.dedent(CONFIGURATION), encoding="utf-8")
    (folder / "modeling_own.py").write_text(textwrap.dedent(MODELING), encoding="utf-8")
    tokenizer = build_tokenizer("wordpiece").tokenizer
    tokenizer.save_pretrained(folder)
    config = {
        "model_type": "own-bert",
        "auto_map": {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"},
        "architectures": ["OwnModel"],
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 130,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    from transformers import BertConfig, BertModel

    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    plain = BertModel(BertConfig(**{name: config[name] for name in names}, max_position_embeddings=130))
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in plain.state_dict().items()}, folder / "model.safetensors")
    return folder


def has_run(tmp_path):
    return list((tmp_path / "modules").rglob("has-run"))


def test_code_of_an_encoder_does_not_run_by_itself(encoder, tmp_path):
    with pytest.raises(ValueError, match="trust_remote_code"):
        SpanMarkerModel.from_pretrained(encoder, labels=LABELS)
    assert not has_run(tmp_path)


def test_code_runs_where_the_caller_trusts_it_and_goes_with_the_checkpoint(encoder, tmp_path):
    model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, trust_remote_code=True)
    assert has_run(tmp_path)
    assert type(model.encoder).__name__ == "OwnModel"
    model.classifier.bias.data.zero_()
    expected = model.predict(SENTENCES)
    assert any(expected)
    model.save_pretrained(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "modeling_own.py").exists()
    loaded = SpanMarkerModel.from_pretrained(tmp_path / "checkpoint", trust_remote_code=True)
    assert loaded.predict(SENTENCES) == expected


@pytest.mark.parametrize("wish", [{}, {"trust_remote_code": False}])
def test_nothing_in_a_checkpoint_switches_its_code_on(encoder, tmp_path, wish):
    model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, trust_remote_code=True)
    checkpoint = tmp_path / "checkpoint"
    model.save_pretrained(checkpoint)
    config = json.loads((checkpoint / "config.json").read_text())
    config["trust_remote_code"] = config["encoder"]["trust_remote_code"] = True
    config["auto_map"] = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    for mark in has_run(tmp_path):
        mark.unlink()
    with pytest.raises(ValueError, match="own-bert.* needs custom code: .* pass trust_remote_code=True"):
        SpanMarkerModel.from_pretrained(checkpoint, **wish)
    assert not has_run(tmp_path)


def test_code_that_is_not_in_use_is_forgotten(tmp_path):
    model = build_model("bert")
    model.config.encoder.auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "somebody/else--m.M"}
    model.save_pretrained(tmp_path)
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())["encoder"]
    loaded = SpanMarkerModel.from_pretrained(tmp_path, trust_remote_code=True)
    assert loaded.predict(SENTENCES) == model.predict(SENTENCES)
