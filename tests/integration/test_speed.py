"""What `benchmarks/speed.py` compares with the published library."""

import pytest
from quickstart_files import write_encoder
from span_filter import WAYS
from speed import write_checkpoint
from tiny import LABELS

from span_marker import SpanMarkerModel


@pytest.fixture
def encoder(tmp_path):
    write_encoder(tmp_path / "encoder")
    return str(tmp_path / "encoder")


def test_the_published_library_can_read_what_is_compared(encoder, tmp_path):
    write_checkpoint(encoder, LABELS, (64, 32, 3), tmp_path / "checkpoint")
    model = SpanMarkerModel.from_pretrained(tmp_path / "checkpoint")
    assert not model.config.unknown_to_1x
    assert model.candidates_kept == 1


def test_models_whose_filter_is_compared_are_those_of_the_published_library(encoder):
    model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, **WAYS["1x-training"])
    assert not model.config.unknown_to_1x
