"""A checkpoint that the published library wrote predicts here what it predicted there, if it did not cut the text."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.parity import compare
from span_marker import SpanMarkerModel

FIXTURE = Path(__file__).parents[1] / "fixtures" / "published"


@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_everything_is_equal(engine):
    equal = compare(FIXTURE, engine)
    assert {name: len(rows) for name, rows in equal.items()} == {"strings": 4, "words": 8, "documents": 9}
    assert all(all(rows) for rows in equal.values())


def test_the_other_weight_format_too(tmp_path):
    checkpoint = shutil.copytree(FIXTURE / "checkpoint", tmp_path / "checkpoint")
    weights = torch.load(checkpoint / "pytorch_model.bin", weights_only=True)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    (checkpoint / "pytorch_model.bin").unlink()
    assert all(all(rows) for rows in compare(FIXTURE, checkpoint=checkpoint).values())


def test_what_is_written_again_is_the_same(tmp_path):
    SpanMarkerModel.from_pretrained(FIXTURE / "checkpoint").save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    assert all(all(rows) for rows in compare(FIXTURE, checkpoint=tmp_path).values())
