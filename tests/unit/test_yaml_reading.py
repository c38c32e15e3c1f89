"""YAML is read as ever, but no name that is there twice is read as its last value."""

import pytest
import yaml

from span_marker.core.yaml_reading import parse_yaml
from span_marker_cli.common import named_values


@pytest.mark.parametrize("text", ["", "1", "[a, b]", "a: {b: 1}\nb: {b: 2}", "base: &x {a: 1}\nnew: {<<: *x, a: 2}"])
def test_other_texts_are_read_as_ever(text):
    assert parse_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["{PER: a, PER: b}", "[{a: {b: 1, c: 2, b: 3}}]", "a: 1\n'a': 2"])
def test_a_name_that_is_there_twice_is_an_error(text):
    with pytest.raises(yaml.YAMLError, match="occurs twice"):
        parse_yaml(text)


def test_so_it_is_on_the_command_line():
    with pytest.raises(ValueError, match="'PER' occurs twice"):
        named_values("--read", ["label_map={PER: person, PER: place}"])
