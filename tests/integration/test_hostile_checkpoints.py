"""A checkpoint that is broken or hostile: nothing in it runs, nothing hangs, and the error names what is wrong."""

import faulthandler
import json
import os
import pickle
import random
import shutil

import pytest
import torch
from tiny import SENTENCES, build_model

from span_marker import SpanMarkerModel

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
SECONDS = 60
"""Whatever is wrong with a checkpoint, to find it out takes a moment."""

WRONG = [None, "x", -1, 10**12, 10**30, [1], {"a": 1}]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    model = build_model("bert", entity_max_length=3)
    model.save_pretrained(folder)
    return folder, model.predict(SENTENCES)


@pytest.fixture
def checkpoint(original, tmp_path):
    return shutil.copytree(original[0], tmp_path / "checkpoint")


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def refuse_or_read(folder, names, expected=None):
    """Load a checkpoint: it predicts, what is expected if something is; or the error has one of the names."""
    reason = None
    try:
        found = SpanMarkerModel.from_pretrained(folder).predict(SENTENCES)
    except (ValueError, OSError, TypeError) as error:
        reason = str(error)
    if reason is None:
        assert expected is None or found == expected
        return True
    assert any(name in reason for name in (*names, str(folder), "its configuration", "cannot carry span markers")), (
        reason
    )
    return False


def change(folder, field, value, name="config.json"):
    path = folder / name
    config = json.loads(path.read_text(encoding="utf-8"))
    *parents, last = field.split("/")
    part = config
    for parent in parents:
        part = part[parent]
    part[last] = value
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short(name, checkpoint):
    whole = (checkpoint / name).read_bytes()
    rng = random.Random(name)
    for length in (0, 1, 8, len(whole) - 2, *(rng.randrange(len(whole)) for _ in range(8))):
        (checkpoint / name).write_bytes(whole[:length])
        assert not refuse_or_read(checkpoint, [name]), length


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_flipped_bit(name, checkpoint):
    whole = (checkpoint / name).read_bytes()
    rng = random.Random(name)
    for _ in range(15):
        place = rng.randrange(min(len(whole), 6000))  # of weights, the header: no one can tell a wrong number
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.randrange(8)
        (checkpoint / name).write_bytes(broken)
        refuse_or_read(checkpoint, [name, "labels", "label_"])


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b'"x"', b"1", b"NaN", b"\xff\xfe\x00", b"[" * 10**5, b'{"a":' * 10**5]
)
@pytest.mark.parametrize("name", FILES)
def test_a_file_with_something_else_in_it(name, content, checkpoint):
    (checkpoint / name).write_bytes(content)
    assert not refuse_or_read(checkpoint, [name])


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing(name, checkpoint, original):
    (checkpoint / name).unlink()
    is_read = refuse_or_read(checkpoint, [name], original[1])
    assert is_read == (name == "tokenizer_config.json")


def test_a_card_that_is_no_text(checkpoint, original):
    (checkpoint / "README.md").write_bytes(b"\xff\xfe\x00")
    assert refuse_or_read(checkpoint, [], original[1])


def test_wrong_settings(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    whole = (checkpoint / "config.json").read_bytes()
    fields = [*config, "num_labels", "quantization_config", *(f"encoder/{name}" for name in config["encoder"])]
    for index, field in enumerate([*fields, "encoder/num_labels"]):
        for value in WRONG[index % 3 :: 3]:
            (checkpoint / "config.json").write_bytes(whole)
            change(checkpoint, field, value)
            name = field.split("/")[-1]
            refuse_or_read(checkpoint, [name, name.replace("_", " ")])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder", None),
        ("encoder", [1]),
        ("id2label", "x"),
        ("decoding", "backwards"),
        ("model_max_length", 10**12),
        ("model_max_length_default", "x"),
        ("model_max_length_default", 10**12),
        ("entity_max_length", 10**12),
        ("entity_max_length", 10**30),
        ("encoder/model_type", "unheard-of"),
        ("encoder/model_type", ["bert"]),
        ("encoder/vocab_size", 10**12),
        ("encoder/vocab_size", 3 * 10**8),
        ("encoder/vocab_size", 100),
        ("encoder/vocab_size", -1),
        ("encoder/hidden_size", 10**12),
        ("encoder/hidden_size", 64),
        ("encoder/num_hidden_layers", 10**12),
        ("encoder/num_hidden_layers", -1),
        ("encoder/max_position_embeddings", 10**12),
        ("encoder/pad_token_id", 10**12),
        ("span_filter", {"input_size": 10**12}),
    ],
)
def test_settings_that_are_refused(field, value, checkpoint):
    change(checkpoint, field, value)
    name = field.split("/")[-1]
    with pytest.raises((ValueError, TypeError), match=rf"{name}|does not fit its configuration|config\.json"):
        SpanMarkerModel.from_pretrained(checkpoint)


@pytest.mark.parametrize("value", [0, -1, 1.5, "x", [1]])
def test_a_tokenizer_without_room(value, checkpoint):
    change(checkpoint, "model_max_length", value, "tokenizer_config.json")
    with pytest.raises(ValueError, match="tokenizer_config.json"):
        SpanMarkerModel.from_pretrained(checkpoint)


@pytest.mark.parametrize("token_id", [10**6, 2**32 - 1, -1])
def test_a_token_beyond_the_vocabulary(token_id, checkpoint):
    change(checkpoint, "model/vocab/Paris", token_id, "tokenizer.json")
    with pytest.raises(ValueError, match="tokenizer"):
        SpanMarkerModel.from_pretrained(checkpoint)


class Evil:
    """Runs a command when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_pickled_code_does_not_run(write, checkpoint, tmp_path):
    mark = tmp_path / "mark"
    (checkpoint / "model.safetensors").unlink()
    weights = {"encoder": torch.zeros(10**5), "evil": Evil(mark)}
    write(weights, checkpoint / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot read the weights of .*checkpoint") as error:
        SpanMarkerModel.from_pretrained(checkpoint)
    assert str(error.value).endswith("pytorch_model*.bin is broken, or holds more than tensors: not loaded")
    assert error.value.__cause__ is not None
    assert not mark.exists()
    torch.load(checkpoint / "pytorch_model.bin", weights_only=False) if write is torch.save else pickle.loads(
        (checkpoint / "pytorch_model.bin").read_bytes()
    )
    assert mark.exists(), "the code would run"


CODE = {"AutoTokenizer": ["own.T", "own.T"], "AutoConfig": "own.T", "AutoModel": "own.T"}


@pytest.mark.parametrize(
    "settings",
    [
        {"config.json": {"auto_map": CODE, "trust_remote_code": True}},
        {"config.json": {"auto_map": CODE, "trust_remote_code": True, "model_type": "own"}},
        {"config.json": {"auto_map": CODE, "architectures": ["own.T"], "custom_pipelines": {"a": {"impl": "own.T"}}}},
        {"config.json": {"attn_implementation": "own/kernel", "_attn_implementation": "own/kernel"}},
        {"tokenizer_config.json": {"auto_map": CODE, "trust_remote_code": True}},
        {"tokenizer_config.json": {"auto_map": CODE, "tokenizer_class": "T"}},
        {"tokenizer_config.json": {"auto_map": CODE, "tokenizer_class": None, "trust_remote_code": True}},
        {"tokenizer_config.json": {"tokenizer_class": "../own.T"}},
        {"config.json": {"_name_or_path": "/nowhere"}, "tokenizer_config.json": {"name_or_path": "/nowhere"}},
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_code_in_the_folder_does_not_run(settings, deep, checkpoint, original, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    mark = tmp_path / "mark"
    (checkpoint / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass T: pass\n", encoding="utf-8")
    for name, entries in settings.items():
        for field, value in entries.items():
            in_encoder = deep and name == "config.json"
            change(checkpoint, f"encoder/{field}" if in_encoder else field, value, name)
    refuse_or_read(checkpoint, [], original[1])
    assert not mark.exists()


@pytest.mark.parametrize(
    "index",
    [
        '{"metad',
        "{}",
        '{"weight_map": {"a": "../../outside"}}',
        '{"metadata": {}, "weight_map": {"a": "gone.safetensors"}}',
    ],
)
def test_a_broken_index_of_weights(index, checkpoint):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    assert not refuse_or_read(checkpoint, [])
