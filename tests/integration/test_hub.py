"""Models are published on the Hub and loaded from it, by the clients that everybody has, on a Hub of our own."""

import json
import textwrap
from pathlib import Path

import pytest
import torch
from fresh import printed_by
from hub_server import HubServer
from test_custom_code import CONFIGURATION, MODELING
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel

WORKER = Path(__file__).with_name("hub_worker.py")
CHECKPOINT = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"}
ATTRIBUTES = {".gitattributes"}  # the Hub's own
CODE = ("configuration_own.py", "modeling_own.py")


class Results:
    """What each step returned."""

    def __init__(self, path):
        self.steps = json.loads(path.read_text(encoding="utf-8"))

    def __getitem__(self, name):
        result = self.steps[name]
        if isinstance(result, dict) and "traceback" in result:
            pytest.fail(f"step {name}:\n{result['traceback']}", pytrace=False)
        return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


def write_encoder_with_code(folder):
    tokenizer = build_tokenizer("wordpiece").tokenizer
    torch.manual_seed(0)
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    classes = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    config |= {"model_type": "own-bert", "architectures": ["OwnModel"], "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, code in zip(CODE, (CONFIGURATION, MODELING), strict=True):
        (folder / name).write_text(textwrap.dedent(code), encoding="utf-8")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Large files of more than 64 KiB travel in parts: the weights do, smaller ones do not."""
    encoder = tmp_path_factory.mktemp("encoder")
    write_encoder_with_code(encoder)
    with HubServer(tokens={"hf_writer": "user", "hf_other": "other"}, part_size=65536) as server:
        server.add("user/encoder-with-code", encoder)
        yield server


def run(hub, folder, kind, **environment):
    environment = {**hub.environment(folder / "home", token="hf_writer"), "OMP_NUM_THREADS": "1", **environment}
    printed_by(
        f"import os, sys; os.environ.clear(); os.environ |= {environment!r}\n"
        f"sys.path.insert(0, {str(WORKER.parent)!r}); from hub_worker import Path, main\n"
        f"main(Path({str(folder)!r}), {kind!r})"
    )
    return Results(folder / f"{kind}.json")


@pytest.fixture(scope="module")
def online(hub, folder):
    return run(hub, folder, "online")


@pytest.fixture(scope="module")
def offline(hub, folder, online):
    """The steps without the Hub, and how often it was asked all the same."""
    num_requests = len(hub.requests)
    return run(hub, folder, "offline", HF_HUB_OFFLINE="1"), len(hub.requests) - num_requests


def card(hub, name, revision="main"):
    """The lines of a card's metadata."""
    _, metadata, text = hub.repos[name].files(revision)["README.md"].content.decode().split("---\n", 2)
    assert text.strip()
    return metadata.splitlines()


def test_the_library_does_not_import_spacy(online):
    assert online["imports"] == {"spacy": False}


def test_a_model_is_published_with_all_that_it_needs(hub, online):
    assert online["push"]["predicted"][0]
    files = hub.repos["user/tiny"].files(online["push"]["commit"])
    assert set(files) == CHECKPOINT | ATTRIBUTES
    assert files["model.safetensors"].is_lfs
    assert not files["config.json"].is_lfs


def test_weights_travel_by_lfs_in_parts(hub, online):
    weights = hub.repos["user/tiny"].files(online["push"]["commit"])["model.safetensors"]
    num_parts = -(-len(weights.content) // hub.part_size)
    assert num_parts > 1
    asked = [(request.method, request.path) for request in hub.requests if request.status == 200]
    for part in range(1, num_parts + 1):
        assert asked.count(("PUT", f"/storage/{weights.sha256}/{part}")) == 1
    assert ("GET", f"/storage/{weights.sha256}") in asked


def test_every_card_says_whose_model_it_is(hub, online):
    for name in ("user/tiny", "other/secret", "user/saved", "user/trained"):
        metadata = card(hub, name)
        assert "library_name: span-marker" in metadata
        assert "pipeline_tag: token-classification" in metadata
        assert {"- span-marker", "- ner"} <= set(metadata[metadata.index("tags:") :])


def test_it_is_loaded_by_name(online):
    assert online["load"] == online["push"]["predicted"]


def test_main_moves_and_commits_stay(hub, online):
    first, second = online["push"]["predicted"], online["push_again"]
    assert first != second
    assert online["load_main"] == second
    assert online["load_commit"] == first
    assert hub.repos["user/tiny"].at().title == "Other weights"


def test_a_branch_is_made_and_leaves_main_alone(hub, online):
    assert online["push_branch"] == online["push"]["predicted"]
    tiny = hub.repos["user/tiny"]
    assert set(tiny.branches) == {"main", "experiment"}
    assert tiny.files()["model.safetensors"] != tiny.files("experiment")["model.safetensors"]


def test_a_private_model_is_for_its_owner(hub, online):
    assert online["push_private"] is None
    assert hub.repos["other/secret"].is_private
    assert set(hub.repos["other/secret"].files()) == CHECKPOINT | ATTRIBUTES
    assert online["load_private"] == online["push"]["predicted"]
    for step in ("load_private_without_token", "load_private_with_own_token"):
        kind, message = online[step]
        assert kind == "OSError"
        assert "other/secret is not a local folder" in message
        assert "hf auth login" in message
        assert "token=" in message


def test_a_wrong_token_is_named_as_the_reason(online):
    kind, message = online["load_private_with_wrong_token"]
    assert kind == "OSError"
    assert "other/secret" in message
    assert "Invalid credentials" in message


def test_nobody_publishes_under_the_name_of_another(hub, online):
    assert 'rights to create a model under the namespace "other"' in online["push_elsewhere"]
    assert "other/tiny" not in hub.repos


def test_a_missing_model_or_revision_is_named(online):
    kind, message = online["load_missing"]
    assert kind == "OSError"
    assert "user/nothing is not a local folder and is not a valid model identifier" in message
    kind, message = online["load_missing_revision"]
    assert kind == "OSError"
    assert "no-such-branch is not a valid git identifier" in message
    assert "user/tiny" in message


def test_save_pretrained_publishes_the_checkpoint_and_nothing_else(hub, folder, online):
    assert online["save"] == [online["push"]["predicted"]] * 3
    assert set(hub.repos["user/saved"].files()) == CHECKPOINT | ATTRIBUTES
    assert {path.name for path in (folder / "saved").iterdir()} == CHECKPOINT
    assert set(hub.repos["user/used"].files("dev")) == CHECKPOINT | ATTRIBUTES
    assert hub.repos["user/used"].at("dev").title == "Saved"
    assert set(hub.repos["user/used"].files()) == ATTRIBUTES


def test_checkpoints_of_the_trainer_are_whole(hub, online):
    trained = hub.repos["user/trained"]
    _, of_training, _ = trained.commits.values()
    assert of_training.title == "Training in progress, epoch 1"
    assert set(of_training.files) == CHECKPOINT | ATTRIBUTES | {"training_args.bin"}
    assert "library_name: span-marker" in card(hub, "user/trained", of_training.id)
    assert online["train"]["predicted"] != online["train"]["before"]
    assert online["load_trained"] == online["train"]["predicted"]


def test_the_code_of_an_encoder_goes_with_its_checkpoints(hub, online):
    assert any(online["train_with_code"])
    assert set(CODE) <= set(hub.repos["user/trained-with-code"].files())
    assert online["load_with_code"] == online["train_with_code"]


def test_the_trainer_publishes_what_the_model_is_now(hub, online):
    assert online["push_trainer"] != online["train"]["predicted"]
    assert online["load_pushed"] == online["push_trainer"]
    trained = hub.repos["user/trained"]
    assert trained.at().title == "End of training"
    assert set(trained.files()) == CHECKPOINT | ATTRIBUTES | {"training_args.bin"}


def test_what_was_loaded_once_is_loaded_offline(offline, online):
    results, num_requests = offline
    assert results["load"] == online["push_again"]
    assert results["load_commit"] == online["push"]["predicted"]
    assert num_requests == 0


def test_a_checkpoint_without_its_card_is_loaded_offline(offline, online):
    results, _ = offline
    assert online["download"] is None
    assert results["load_downloaded"] == online["push"]["predicted"]


def test_offline_a_model_that_was_never_loaded_is_named(offline):
    results, _ = offline
    kind, message = results["load_missing"]
    assert kind == "OSError"
    assert "user/nothing" in message
    assert "offline" in message
