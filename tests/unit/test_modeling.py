import json
import logging
import os
import shutil
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from helpers import approximately, check_margin, collate
from safetensors.torch import load_file, save_file
from tiny import ENCODERS, LABELS, SENTENCES, TOKEN_STATE_SIZES, UNLIKE, build_model, build_tokenizer, encoder_config
from transformers import AutoConfig, AutoModel, GPT2Config

from span_marker import SpanMarkerConfig, SpanMarkerModel
from span_marker.checkpoints import network
from span_marker.encoders.engines import DenseEngine, FastEngine
from span_marker.encoders.support import auto_class


def save_encoder(family, folder, **changes):
    """Write a bare encoder and its tokenizer, without markers, as a user would find them."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(ENCODERS[family]).tokenizer
    config = encoder_config(family, len(tokenizer))
    for name, value in changes.items():
        setattr(config, name, value)
    auto_class(config).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    build_model("bert", entity_max_length=3).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("family", ENCODERS)
def test_a_new_model_on_an_encoder(family, tmp_path):
    encoder = save_encoder(family, tmp_path / "encoder")
    model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, entity_max_length=4, model_max_length=20)
    assert not model.training
    assert model.config.encoder.vocab_size % 8 == 0
    assert model.config.encoder.vocab_size >= len(model.tokenizer)
    assert model.get_input_embeddings().weight.shape[0] == model.config.encoder.vocab_size
    assert (model.config.entity_max_length, model.max_text_length) == (4, 20)
    bare = auto_class(model.config.encoder).from_pretrained(encoder).state_dict()
    ours = model.encoder.state_dict()
    vocab_size = len(build_tokenizer(ENCODERS[family]).tokenizer)
    shared = [name for name in bare if name in ours]
    assert len(shared) > 10
    for name in shared:  # the rows of the markers are new, if the vocabulary had no room to spare
        rows = min(len(bare[name]), vocab_size - 2) if bare[name].shape != ours[name].shape else len(bare[name])
        torch.testing.assert_close(ours[name][:rows], bare[name][:rows])
    assert model.predict("Amelia Earhart flew") is not None


@pytest.mark.parametrize(
    ("family", "weights"), [*((family, "safetensors") for family in ENCODERS), *((family, "bin") for family in UNLIKE)]
)
def test_a_checkpoint_predicts_the_same(family, weights, tmp_path):
    model = build_model(family, entity_max_length=4)
    expected = model.predict(SENTENCES)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    if weights == "bin":
        torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    assert loaded.predict(SENTENCES) == expected
    assert set(loaded.state_dict()) == set(model.state_dict())


def test_a_checkpoint_needs_nothing_of_its_encoder(tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS)
    model.save_pretrained(tmp_path / "checkpoint")
    expected = model.predict(SENTENCES)
    shutil.rmtree(encoder)
    assert SpanMarkerModel.from_pretrained(tmp_path / "checkpoint").predict(SENTENCES) == expected


def test_auto_classes_know_the_model(checkpoint):
    assert isinstance(AutoConfig.from_pretrained(checkpoint), SpanMarkerConfig)
    assert isinstance(AutoModel.from_pretrained(checkpoint), SpanMarkerModel)


def test_engines_are_chosen_and_forced(checkpoint):
    assert isinstance(SpanMarkerModel.from_pretrained(checkpoint).engine, FastEngine)
    assert isinstance(SpanMarkerModel.from_pretrained(checkpoint, engine="fast").engine, FastEngine)
    dense = SpanMarkerModel.from_pretrained(checkpoint, engine="dense")
    assert isinstance(dense.engine, DenseEngine)
    within = check_margin(dense, SENTENCES)  # so that both engines find the same
    fast = SpanMarkerModel.from_pretrained(checkpoint).predict(SENTENCES)
    assert dense.predict(SENTENCES) == approximately(fast, within)
    with pytest.raises(ValueError, match="engine='quick' must be one of"):
        SpanMarkerModel.from_pretrained(checkpoint, engine="quick")


def test_a_batch_in_pieces_is_refused():
    model = build_model("bert", entity_max_length=3)
    batch = collate(model, SENTENCES)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "span_tokens", "span_counts")}
    with pytest.raises(ValueError, match="The batch was split, as DataParallel does: launch with torchrun"):
        model(**{name: tensor[: len(tensor) // 2] for name, tensor in inputs.items()})


def test_a_new_classifier_starts_at_the_prior_of_outside(tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    for labels in (LABELS, ["PER", "O", "LOC"]):
        model = SpanMarkerModel.from_pretrained(encoder, labels=labels)
        expected = torch.full((model.config.num_labels,), 0.02 / (model.config.num_labels - 1))
        expected[model.config.outside_id] = 0.98
        torch.testing.assert_close(model.classifier.bias.detach().softmax(-1), expected)


def test_loss_is_the_mean_over_candidates():
    model = build_model("bert", entity_max_length=3)
    batch = collate(model, SENTENCES, [[("PER", 0, 2)], [("LOC", 0, 1)], [], [], []])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "span_tokens", "span_counts", "labels")}
    output = model(**inputs)
    picked = output.logits.log_softmax(-1)[torch.arange(len(batch["labels"])), batch["labels"]]
    torch.testing.assert_close(output.loss, -picked.mean())
    torch.testing.assert_close(model(**inputs, num_items_in_batch=10).loss, -picked.sum() / 10)
    torch.testing.assert_close(model(**inputs, num_items_in_batch=torch.tensor(10)).loss, -picked.sum() / 10)


def test_dropout_is_on_states_and_on_features(monkeypatch):
    model = build_model("bert", entity_max_length=2)
    assert model.dropout.p == model.config.encoder.hidden_dropout_prob == 0.1
    shapes = []
    model.dropout.register_forward_hook(lambda module, args, output: shapes.append(tuple(args[0].shape)))
    batch = collate(model, SENTENCES[:1])
    model(**{name: batch[name] for name in ("input_ids", "attention_mask", "span_tokens", "span_counts")})
    assert shapes == [(13, 2, 32), (13, 64)]


def test_every_parameter_gets_a_gradient():
    for family in ENCODERS:
        model = build_model(family, entity_max_length=3)
        batch = collate(model, SENTENCES, [[("PER", 0, 2)], [], [], [], []])
        names = ("input_ids", "attention_mask", "span_tokens", "span_counts", "labels")
        model(**{name: batch[name] for name in names}).loss.backward()
        assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_an_encoder_needs_labels(tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"encoder of type 'bert', not a SpanMarker checkpoint: .*pass the labels"):
        SpanMarkerModel.from_pretrained(encoder)
    with pytest.raises(ValueError, match="'-' is not a label"):
        SpanMarkerModel.from_pretrained(encoder, labels=["O", "B-PER", "-"])


@pytest.mark.parametrize("path", ["./nowhere", "../nowhere", "/nowhere/at/all", "path/or/name/of/a/checkpoint"])
def test_a_folder_that_does_not_exist(path):
    reason = ", and a name on the Hub has at most one '/'" if path.count("/") > 1 else ""
    with pytest.raises(FileNotFoundError, match=f"there is no folder '{path}' to load a model from{reason}$"):
        SpanMarkerModel.from_pretrained(path)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "x.jsonl").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"x\.jsonl' is a file: a model is a folder, or the name of a repos"):
        SpanMarkerModel.from_pretrained(tmp_path / "x.jsonl")


@pytest.mark.skipif(os.name == "nt", reason="has other permissions")
def test_weights_that_must_not_be_read():
    """safetensors says of them that there is no such file."""
    model = build_model()
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies in a folder that others must not enter
        model.save_pretrained(folder)
        SpanMarkerModel.from_pretrained(folder)  # imports what somebody else might not be allowed to
        Path(folder).chmod(0o755)
        Path(folder, "model.safetensors").chmod(0)
        with without_privileges(), pytest.raises(PermissionError, match=r"Permission denied: .*model\.safetensors"):
            SpanMarkerModel.from_pretrained(folder)


@contextmanager
def without_privileges():
    """Be another user, since the superuser may read everything."""
    is_superuser = os.geteuid() == 0
    if is_superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_superuser:
            os.seteuid(0)


@pytest.mark.parametrize("path", ["C:\\models\\ner", ".\\ner", "models\\ner"])
def test_a_folder_of_windows_that_does_not_exist(path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*ner' to load a model from$"):
        SpanMarkerModel.from_pretrained(path)


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_name(path):
    with pytest.raises(FileNotFoundError, match="is empty: pass a folder, or the name of a repository"):
        SpanMarkerModel.from_pretrained(path)


@pytest.mark.parametrize("proxies", [{}, {"https": "http://proxy:8080"}])
def test_without_a_network_only_cached_files_are_used(proxies, monkeypatch, caplog, tmp_path):
    def resolve(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(network.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(network, "getproxies", lambda: proxies)
    assert network.adapt_to_network("user/name", {"token": "t", "local_files_only": True})["local_files_only"]
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert network.adapt_to_network(tmp_path, {}) == {}
    assert not caplog.text
    expected = {} if proxies else {"local_files_only": True}
    assert network.adapt_to_network("user/name", {"revision": "main"}) == {"revision": "main", **expected}
    assert caplog.text.count("No network: the name ") == len(expected)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: [])
    assert network.adapt_to_network("user/name", {}) == {}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"there is no config.json in '.*run'$"),
        (["adapter_config.json"], r"a PEFT adapter: load its base model, .*from_pretrained\(base, '.*run'\)"),
        (
            ["checkpoint-10/config.json", "checkpoint-5/adapter_config.json", "runs/log"],
            r"no config.json in '.*run': pass one of the folders in it, \['checkpoint-5', 'checkpoint-10'\]",
        ),
    ],
)
def test_a_folder_without_a_configuration(files, message, tmp_path):
    (tmp_path / "run").mkdir()
    for name in files:
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
    with pytest.raises(FileNotFoundError, match=message):
        SpanMarkerModel.from_pretrained(tmp_path / "run")


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ("entity_max_lenght", ": did you mean 'entity_max_length'?"),
        ("max_length", ": did you mean 'model_max_length'?"),
        ("device", ": did you mean 'device_map'?"),
        ("thresholds", ": set model.config.thresholds instead"),
        ("xyz", ""),
    ],
)
def test_an_argument_that_nobody_takes(argument, advice, tmp_path, checkpoint):
    encoder = save_encoder("bert", tmp_path / "encoder")
    for path, labels in ((encoder, LABELS), (checkpoint, None)):
        with pytest.raises(TypeError) as error:
            SpanMarkerModel.from_pretrained(path, labels=labels, **{argument: 8})
        assert str(error.value) == f"from_pretrained has no argument {argument!r}{advice}"


def test_arguments_of_transformers_and_of_the_encoder_go_on(tmp_path, checkpoint):
    encoder = save_encoder("bert", tmp_path / "encoder")
    options = {"dtype": "bfloat16", "device_map": "cpu", "low_cpu_mem_usage": True, "use_safetensors": True}
    options |= {"cache_dir": str(tmp_path), "revision": "main", "token": False, "local_files_only": True}
    assert SpanMarkerModel.from_pretrained(encoder, labels=LABELS, **options, add_pooling_layer=False) is not None
    assert SpanMarkerModel.from_pretrained(checkpoint, **options).dtype == torch.bfloat16


@pytest.mark.parametrize("labels", ["train.jsonl", {0: "O", 1: "PER"}])
def test_labels_that_are_no_list(labels, checkpoint):
    with pytest.raises(TypeError, match=r"labels=.* must be a list of strings, .*(read_annotations|labels.values\(\))"):
        SpanMarkerModel.from_pretrained(checkpoint, labels=labels)


def test_an_encoder_that_cannot_carry_markers_is_refused(tmp_path):
    GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=10).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"type 'gpt2' cannot .*: it is a decoder.* Types that can: albert, bert, "):
        SpanMarkerModel.from_pretrained(tmp_path, labels=LABELS)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"entity_max_length": 0}, "entity_max_length=0 must be at least 1"),
        ({"marker_max_length": -1}, "marker_max_length=-1 must be at least 1"),
        ({"model_max_length": 0}, "model_max_length=0 must be at least 1"),
        (
            {"model_max_length": 129},
            r"model_max_length=129 .* the encoder's 128 positions \(tokens\): set model_max_length to 128",
        ),
        ({"model_max_length": 2}, "model_max_length=2 leaves no tokens for text besides 2 special tokens"),
        ({"attn_implementation": "sdpa"}, "use engine= instead of attn_implementation="),
    ],
)
def test_limits_are_checked(limits, message, tmp_path, checkpoint):
    encoder = save_encoder("bert", tmp_path / "encoder")
    with pytest.raises(ValueError, match=message):
        SpanMarkerModel.from_pretrained(encoder, labels=LABELS, **limits)
    with pytest.raises(ValueError, match=message):
        SpanMarkerModel.from_pretrained(checkpoint, **limits)


def test_the_text_limit_reaches_the_last_position(tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, model_max_length=128)
    assert model.predict(" ".join(["Paris"] * 500)) is not None


def test_a_checkpoint_that_asks_for_too_much_text_is_lowered(checkpoint, caplog):
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "model_max_length": 512}))
    with caplog.at_level(logging.WARNING):
        model = SpanMarkerModel.from_pretrained(checkpoint)
    assert "has model_max_length=512, but its encoder reads at most 128 tokens" in caplog.text
    assert model.max_text_length == 128
    assert model.predict(" ".join(["Paris"] * 500)) is not None


def test_labels_of_a_checkpoint_may_be_repeated(checkpoint):
    assert SpanMarkerModel.from_pretrained(checkpoint, labels=LABELS).config.tags == LABELS


def test_a_checkpoint_keeps_odd_labels_and_new_labels_are_checked(checkpoint):
    config = SpanMarkerModel.from_pretrained(checkpoint).config
    odd = ["O", "-", "B-PER", "I-PER"]
    config.set_labels(odd)
    assert type(config).from_dict(config.to_dict()).classes == odd
    config.check_labels()
    with pytest.raises(ValueError, match="'-' is not a label"):
        SpanMarkerModel.from_pretrained(checkpoint, labels=odd)


@pytest.mark.parametrize("name", ["classifier.weight", "encoder.encoder.layer.1.output.dense.bias"])
def test_missing_weights_are_refused(checkpoint, name):
    weights = load_file(checkpoint / "model.safetensors")
    del weights[name]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"is incomplete: 1 weights are missing, for example '{name}'"):
        SpanMarkerModel.from_pretrained(checkpoint)


def test_misshapen_weights_are_refused(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    weights["classifier.weight"] = weights["classifier.weight"][:, :-1].contiguous()
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"'classifier.weight' with \(4, 63\) instead of \(4, 64\)"):
        SpanMarkerModel.from_pretrained(checkpoint)


def test_an_incomplete_encoder_is_refused(tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    weights = load_file(encoder / "model.safetensors")
    del weights["encoder.layer.0.attention.self.key.weight"]
    save_file(weights, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="is incomplete: 1 weights are missing"):
        SpanMarkerModel.from_pretrained(encoder, labels=LABELS)


def test_a_model_without_tokenizer_says_so():
    model = build_model("bert")
    model.tokenizer = None
    with pytest.raises(ValueError, match="has no tokenizer"):
        model.predict("Paris")


def test_a_configuration_without_encoder_or_labels():
    with pytest.raises(ValueError, match="has no encoder"):
        SpanMarkerModel(SpanMarkerConfig())


def test_classes_that_do_not_belong_to_the_labels():
    config = build_model("bert").config
    config.id2label = {0: "O", 1: "LOC", 2: "PER", 3: "MISC"}
    with pytest.raises(ValueError, match="do not match the tags"):
        SpanMarkerModel(config)


def test_reentrant_checkpointing_is_refused():
    with pytest.raises(ValueError, match="must not set use_reentrant=True"):
        build_model("bert").gradient_checkpointing_enable({"use_reentrant": True})


def test_predict_leaves_the_mode_of_every_module():
    model = build_model("bert")
    model.train()
    model.encoder.eval()
    model.predict("Paris")
    assert model.training
    assert model.dropout.training
    assert not model.encoder.training


def test_the_classifier_is_where_the_encoder_is(tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, dtype=torch.bfloat16, device_map="cpu")
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_try_cuda_returns_the_model(caplog):
    model = build_model("bert")
    assert model.try_cuda() is model


def test_bfloat16_weights(checkpoint):
    model = SpanMarkerModel.from_pretrained(checkpoint, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.predict(SENTENCES) is not None


def test_new_models_have_a_filter_to_train_where_they_can(tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    new = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, entity_max_length=4)
    assert new.config.candidates_per_word == 1
    assert new.span_filter is not None
    new.save_pretrained(tmp_path / "checkpoint")
    assert SpanMarkerModel.from_pretrained(tmp_path / "checkpoint").predict(SENTENCES) == new.predict(SENTENCES)
    for options in ({"candidates_per_word": None}, {"engine": "dense"}, {"compatible_with_1x": True}):
        exact = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, entity_max_length=4, **options)
        assert exact.config.candidates_per_word is None
        assert exact.span_filter is None
        assert not exact.uses_filter()
    with pytest.raises(ValueError, match="engine='auto', or make it with compatible_with_1x=True"):
        SpanMarkerModel.from_pretrained(encoder, labels=LABELS, engine="dense", candidates_per_word=1)


@pytest.mark.parametrize("family", ENCODERS)
def test_new_models_classify_tokens_where_they_can(family, tmp_path):
    encoder = save_encoder(family, tmp_path / "encoder")
    new = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, entity_max_length=4)
    assert new.config.token_state_size == new.text_state_size() == TOKEN_STATE_SIZES.get(family, 32)
    new.classifier.weight.data.normal_(std=0.5)  # so that something is found
    new.classifier.bias.data.zero_()
    new.save_pretrained(tmp_path / "checkpoint")
    expected = new.predict(SENTENCES)
    assert any(expected)
    assert SpanMarkerModel.from_pretrained(tmp_path / "checkpoint").predict(SENTENCES) == expected
    with pytest.raises(ValueError, match="need the fast engine"):
        SpanMarkerModel.from_pretrained(tmp_path / "checkpoint", engine="dense")
    with pytest.raises(ValueError, match="compatible_with_1x=True is for new models"):
        SpanMarkerModel.from_pretrained(tmp_path / "checkpoint", compatible_with_1x=True)


def test_markers_alone_are_classified_where_1x_or_the_dense_engine_must_do_it(tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    for options in ({"compatible_with_1x": True}, {"engine": "dense"}):
        model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, **options)
        assert model.config.token_state_size is None
        assert model.classifier.in_features == 2 * model.config.encoder.hidden_size
    filtered = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, compatible_with_1x=True, candidates_per_word=2)
    assert filtered.config.candidates_per_word == 2
    assert filtered.span_filter is not None


@pytest.mark.parametrize("settings", [{"relation_labels": ["knows"]}, {"multi_label": True}])
def test_what_1x_would_misread_is_refused(settings, tmp_path):
    encoder = save_encoder("bert", tmp_path / "encoder")
    (name,) = settings
    with pytest.raises(
        ValueError, match=f"{name}=.* must be left out with compatible_with_1x=True, since 1.x does not"
    ):
        SpanMarkerModel.from_pretrained(encoder, labels=LABELS, compatible_with_1x=True, **settings)
    build_model(**settings).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=f"compatible_with_1x=True is for new models: .* has {name}="):
        SpanMarkerModel.from_pretrained(tmp_path / "checkpoint", compatible_with_1x=True)
    assert "which cannot read this model" in build_model(**settings).generate_model_card()


def test_a_classifier_of_tokens_of_another_size_is_refused(tmp_path):
    model = build_model("bert", reads_tokens=True, entity_max_length=3)
    model.config.token_state_size = 16
    with pytest.raises(ValueError, match=r"token_state_size=16 .* must be the size of .*, which is 32"):
        model.predict(SENTENCES)


def test_checkpoints_without_a_filter_stay_so(checkpoint):
    loaded = SpanMarkerModel.from_pretrained(checkpoint)
    assert loaded.config.candidates_per_word is None
    assert not loaded.uses_filter()
