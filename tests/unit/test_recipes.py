"""Files of options for a training."""

import pytest
from datasets import Dataset
from tiny import build_model

from span_marker.training.recipes import prepare_training, read_options


@pytest.mark.parametrize("dev", ["dev.conll", "[dev.conll]", "\n- dev.conll"])
def test_one_file_is_a_list_of_one(tmp_path, dev):
    (tmp_path / "x.yaml").write_text(f"dev: {dev}\nmodel-max-length: 48\n")
    assert read_options(tmp_path / "x.yaml") == {"dev": ["dev.conll"], "model_max_length": 48}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dev: 3", "dev must be a file or a list of files, such as .*, not 3"),
        ("dev: [3]", r"dev must be a file or a list of files, such as .*, not \[3\]"),
        ("dev:", "dev must be a file or a list of files, such as .*, not None"),
        ("epoch: 3", "there is no option 'epoch'"),
        ("- 3", "must contain options by name"),
        ("encoder: [x", "is not YAML: while parsing"),
        ("seed: 1\nseed: 2\n", "is not YAML: 'seed' occurs twice\n.*line 2"),
        ("epochs: 1\nnum-train-epochs: 2\n", "'epochs' and 'num-train-epochs' are the same option"),
        ("num_train_epochs: two", "argument --num_train_epochs/--num-train-epochs: invalid float value: 'two'"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(ValueError, match=rf"x\.yaml:? {message}"):
        read_options(tmp_path / "x.yaml")


def test_an_empty_file_has_no_options(tmp_path):
    (tmp_path / "x.yaml").touch()
    assert read_options(tmp_path / "x.yaml") == {}


def test_values_have_the_types_of_training_arguments(tmp_path):
    """YAML reads 1e-4 as a string and no as False, with which a training would fail when it has begun."""
    content = "learning_rate: 1e-4\nepochs: 3\nsave_strategy: no\nfp16: true\noutput: x\nlr_scheduler_kwargs: {a: 1}\n"
    (tmp_path / "x.yaml").write_text(content)
    options = read_options(tmp_path / "x.yaml")
    assert options.pop("lr_scheduler_kwargs") == {"a": 1}
    assert options == {
        "learning_rate": 1e-4,
        "num_train_epochs": 3.0,
        "save_strategy": "no",
        "fp16": True,
        "output_dir": "x",
    }
    assert type(options["num_train_epochs"]) is float
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"x\.yaml is not YAML: 'utf-8' codec"):
        read_options(tmp_path / "x.yaml")


def test_a_checkpoint_keeps_its_labels_and_limits(tmp_path):
    model = build_model(entity_max_length=3, model_max_length=40)
    model.save_pretrained(tmp_path / "model")
    row = {"tokens": ["Amelia", "flew"], "entities": [{"label": "PER", "start": 0, "end": 1}]}
    plan = prepare_training(Dataset.from_list([row] * 4), None, tmp_path / "run", encoder=str(tmp_path / "model"))
    assert plan.model.labels == model.labels
    assert (plan.model.config.entity_max_length, plan.model.config.model_max_length) == (3, 40)
    assert "texts of up to 40 tokens, entities of up to 3 words" in str(plan)
    model.encoder.save_pretrained(tmp_path / "encoder")
    model.tokenizer.tokenizer.save_pretrained(tmp_path / "encoder")
    plan = prepare_training(
        Dataset.from_list([row] * 4), None, tmp_path / "run", encoder=str(tmp_path / "encoder"), model_max_length=30
    )
    assert plan.model.labels == ["PER"]
    assert "texts of up to 30 tokens, entities as in the data" in str(plan)
