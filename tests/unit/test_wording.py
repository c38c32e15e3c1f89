"""Messages of the library on the command line."""

import inspect
import re

import pytest

from span_marker import read_annotations
from span_marker_cli import train, validate
from span_marker_cli.common import named_values, read_file, read_options, read_secret
from span_marker_cli.main import COMMANDS
from span_marker_cli.wording import in_options, option_names

FUNCTIONS = [getattr(module, module.__name__.rpartition(".")[2]) for module in COMMANDS]
NAMES = {
    **{name: f"--{name.replace('_', '-')}" for name in ("format", "resume", "on_error", "text_column", "threshold")},
    "relations": "--relations/--no-relations",
    "columns": "--read columns=",
    "tag_columns": "--read tag_columns=",
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("pass format= one of ['a']", "pass --format one of ['a']"),
        ("format='x' must be one of", "--format 'x' must be one of"),
        ("pass resume=True, or go", "pass --resume, or go"),
        ("relations=True, or relations=False: pass", "--relations, or --no-relations: pass"),
        ("resume=False", "--resume False"),
        ("pass columns=, such as columns={'text': 'x'}", "pass --read columns=, such as --read columns={'text': 'x'}"),
        ("with tag_columns='all'.", "with --read tag_columns='all'."),
        ("tag_columns must name other columns", "--read tag_columns must name other columns"),
        ("on_error must be 'raise', not 'on_error'", "--on-error must be 'raise', not 'on_error'"),
        ("(threshold=2): set text_column", "(--threshold 2): set --text-column"),
        ("the columns and the format of a threshold", "the columns and the format of a threshold"),
        ("my_format=1, x.format=2, --on_error=1, on_error.json, text_columns", None),
        ("leave format=", "leave --format"),
        ("such as --read tag_columns=all", None),
    ],
)
def test_arguments_become_options(message, expected):
    assert in_options(message, NAMES) == (message if expected is None else expected)
    assert in_options(message, {}) == message


@pytest.mark.parametrize("command", FUNCTIONS, ids=lambda command: command.__name__)
def test_every_command_names_its_options(command):
    names = option_names(command)
    own = [name for name in inspect.signature(command).parameters if name in names]
    assert all(re.fullmatch(r"--[a-z-]+(/--no-[a-z-]+)?", names[name]) for name in own)
    if "read" in own:
        readable = [*inspect.signature(read_annotations).parameters][2:]
        assert {name for name in readable if name not in own} <= names.keys()
        assert in_options("pass spans_key=", names) == "pass --read spans_key="


def test_values_are_yaml():
    given = ["tag_columns=all", "columns={text: body}", "token-column=1", "errors=skip", "encoding=latin-1"]
    expected = {"tag_columns": "all", "columns": {"text": "body"}, "token_column": 1, "errors": "skip"}
    assert named_values("--read", given) == {**expected, "encoding": "latin-1"}
    assert named_values("--read", None) == {}
    for wrong in ("errors", "columns={"):
        with pytest.raises(ValueError, match=re.escape(f"--read {wrong}")):
            named_values("--read", [wrong])


def test_errors_of_the_command_line_name_options_once():
    names = option_names(validate.validate)
    for wrong, message in (
        ("errors", "--read errors must have the form NAME=VALUE, such as --read errors=skip"),
        ("foo=1", "--read foo: the name must be one of 'token_column', 'tag_columns', "),
    ):
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            read_options(None, [wrong])
        assert in_options(str(caught.value), names) == str(caught.value)


@pytest.mark.parametrize("command", FUNCTIONS, ids=lambda command: command.__name__)
def test_no_command_names_arguments_that_it_has_not(command):
    """Its own options, those of --read, and what only Python has."""
    names = option_names(command)
    for value in ("True", "False"):
        message = in_options(f"these are words (is_split_into_words={value}): leave it out", names)
        assert message == f"these are words (a column '{'tokens' if value == 'True' else 'text'}'): leave it out"
    for name in inspect.signature(command).parameters:
        if name in names:
            assert f"{name}=" not in in_options(f"pass {name}=, or {name}='x'", names), name
    if "key_file" in names:
        assert in_options("pass key=, such as", names) == "pass --key-file, such as"


def test_what_is_read_has_the_options_of_reading(tmp_path):
    """`train --labels` is another option than `--read labels=`."""
    (tmp_path / "x.jsonl").write_text('{"tokens": ["a", "b"], "ner_tags": [1, 0]}')
    with pytest.raises(ValueError, match="the label 1 is a number: name it with --read labels={1: ") as caught:
        read_file(tmp_path / "x.jsonl")
    assert in_options(str(caught.value), option_names(train.train)) == str(caught.value)
    data = read_file(tmp_path / "x.jsonl", read=["labels=[O, X]", "label_map={X: Y}"])
    assert data[0]["entities"][0]["label"] == "Y"
    with pytest.raises(ValueError, match="--read labels=1: labels is given twice"):
        read_file(tmp_path / "x.jsonl", read=["labels=[O, X]", "labels=1"])


def test_secrets_are_not_on_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "key").write_bytes(b"\xffsecret \r\n")
    monkeypatch.setenv("KEY", "secret \u20ac")
    assert read_secret(None, tmp_path / "key") == b"\xffsecret "
    assert read_secret("KEY", None) == "secret \u20ac".encode()
    assert read_secret(None, None) is None
    with pytest.raises(ValueError, match="--key-env NO_KEY: this environment variable is not set"):
        read_secret("NO_KEY", None)
    with pytest.raises(ValueError, match="mutually exclusive"):
        read_secret("KEY", tmp_path / "key")
