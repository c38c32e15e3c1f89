import json
import math

import numpy as np
import pytest
from tiny import LABELS, encoder_config
from transformers import AutoConfig, BertConfig

from span_marker import SpanMarkerConfig
from span_marker.configuration import NO_THRESHOLDS, SpanFilterConfig


def test_round_trip_through_json(tmp_path):
    config = SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS, entity_max_length=5)
    config.save_pretrained(tmp_path)
    for loaded in (SpanMarkerConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(loaded, SpanMarkerConfig)
        assert isinstance(loaded.encoder, BertConfig)
        assert loaded.given_labels == LABELS
        assert loaded.id2label == {0: "O", 1: "LOC", 2: "ORG", 3: "PER"}
        assert loaded.id2reduced_id == config.id2reduced_id == {0: 0, 1: 3, 2: 3, 3: 1, 4: 1, 5: 2, 6: 2}
        assert loaded.entity_max_length == 5
        assert loaded.scheme == "IOB"
        assert loaded.outside_id == 0


def test_the_file_is_what_the_published_library_reads(tmp_path):
    SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == "span-marker"
    assert saved["encoder"]["model_type"] == "bert"
    assert saved["encoder"]["label2id"] == {label: index for index, label in enumerate(LABELS)}
    assert saved["id2reduced_id"] == {"0": 0, "1": 3, "2": 3, "3": 1, "4": 1, "5": 2, "6": 2}
    assert saved["model_max_length"] is None
    assert saved["model_max_length_default"] == 512
    for name in ("marker_max_length", "entity_max_length", "max_prev_context", "trained_with_document_context"):
        assert name in saved


def test_outside_may_stand_anywhere_without_a_scheme():
    config = SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=["PER", "O", "LOC"])
    assert config.outside_id == 1
    assert config.scheme is None


def test_custom_code_of_an_encoder_is_dropped():
    encoder = {"model_type": "bert", "auto_map": {"AutoModel": "evil.Evil"}, "trust_remote_code": True}
    config = SpanMarkerConfig(encoder=encoder, labels=LABELS)
    assert type(config.encoder) is BertConfig
    assert not hasattr(config.encoder, "auto_map")
    assert not hasattr(config.encoder, "trust_remote_code")


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match=r"model_type='evil', which transformers does not support"):
        SpanMarkerConfig(encoder={"model_type": "evil"})


@pytest.mark.parametrize("name", ["model_max_length", "marker_max_length", "entity_max_length"])
@pytest.mark.parametrize("value", [0, -3])
def test_limits_below_one_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value} must be at least 1"):
        SpanMarkerConfig(**{name: value})


def test_limits_of_another_type_are_refused():
    with pytest.raises(TypeError, match=r"entity_max_length='max' must be a whole number or 'auto'$"):
        SpanMarkerConfig(entity_max_length="max")
    with pytest.raises(TypeError, match=r"model_max_length=0.5 must be a whole number or None or 'auto'$"):
        SpanMarkerConfig(model_max_length=0.5)
    with pytest.raises(TypeError, match=r"marker_max_length='auto' must be a whole number$"):
        SpanMarkerConfig(marker_max_length="auto")
    with pytest.raises(ValueError, match="max_prev_context=-1 must be at least 0"):
        SpanMarkerConfig(max_prev_context=-1)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ("yes", ValueError, "must be None, or a dict with 'input_size'"),
        ({"threshold": 0.5}, ValueError, "must be None, or a dict with 'input_size'"),
        ({"input_size": 32, "treshold": 0.5}, ValueError, "no keys other than .*'threshold'"),
        ({"input_size": 0}, ValueError, "must be at least 1"),
        ({"input_size": 32, "threshold": "low"}, TypeError, "threshold='low' must be a number"),
        ({"input_size": 32, "threshold": math.nan}, ValueError, "threshold=nan must be finite"),
        ({"input_size": 32, "threshold": 0.5}, TypeError, "candidates_kept=None"),
    ],
)
def test_broken_settings_of_the_filter_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        SpanFilterConfig.from_dict(values)
    with pytest.raises(error, match=message):
        SpanMarkerConfig(span_filter=values)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"candidates_per_word": 0.0}, ValueError, "candidates_per_word=0.0 must be above 0"),
        ({"candidates_per_word": "all"}, TypeError, "candidates_per_word='all' must be a number"),
        ({"exact": "no"}, TypeError, "exact='no' must be True or False"),
    ],
)
def test_broken_settings_are_refused(changes, error, message):
    config = SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS)
    for name, value in changes.items():
        setattr(config, name, value)
    with pytest.raises(error, match=message):
        config.check_limits()


def test_thresholds_of_some_labels_leave_the_others_alone():
    config = SpanMarkerConfig(labels=["O", "LOC", "PER"])
    assert np.isnan(config.decoder({"PER": 0.25}).thresholds).tolist() == [True, True, False]
    config.thresholds = {"LOC": 0.5, "PER": 0.75}
    assert config.decoder({"PER": 0.25}).thresholds[1:].tolist() == [0.5, 0.25]


def test_thresholds_of_relations_are_those_of_entities_again():
    config = SpanMarkerConfig(
        labels=["O", "PER"], relation_labels=["knows", "sees"], relation_thresholds={"knows": 0.5, "sees": 0.75}
    )
    assert config.read_relation_threshold()[1:].tolist() == [0.5, 0.75]
    assert config.read_relation_threshold({"sees": 0.25})[1:].tolist() == [0.5, 0.25]
    assert config.read_relation_threshold(0.125)[1:].tolist() == [0.125, 0.125]
    assert config.read_relation_threshold(NO_THRESHOLDS) is None
    config.relation_thresholds = None
    assert config.read_relation_threshold() is None
    assert np.isnan(config.read_relation_threshold({"sees": 0.25})).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"thresholds": 0.5}, TypeError, "thresholds=0.5 must be a dict"),
        ({"thresholds": {"PER": 2}}, ValueError, r"thresholds\['PER'\]=2"),
        ({"relation_thresholds": 0.5}, TypeError, "relation_thresholds=0.5 must be a dict"),
        ({"relation_thresholds": {"knows": 2}}, ValueError, r"relation_thresholds\['knows'\]=2"),
        (
            {"relation_thresholds": {"PER": 0.5}},
            ValueError,
            r"contains the labels \['PER'\], but the model has \['knows'\]",
        ),
        (
            {"relation_thresholds": {"knows": 0.5}, "relation_labels": None},
            ValueError,
            "relation_thresholds={'knows': 0.5} needs relation_labels",
        ),
    ],
)
def test_broken_thresholds_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        SpanMarkerConfig(**{"labels": ["O", "PER"], "relation_labels": ["knows"], **settings})


def test_settings_of_prediction_leave_a_configuration_its_text():
    config = SpanMarkerConfig(encoder=encoder_config("bert", 100), labels=["O", "PER"])
    assert repr(config) == f"SpanMarkerConfig {config.to_json_string()}"
