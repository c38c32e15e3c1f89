"""Messages of the library on the command line."""

import inspect
import re

import pytest

from span_marker import read_annotations
from span_marker_cli import validate
from span_marker_cli.common import named_values, read_options
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
        ("tag_columns must name others", "--read tag_columns must name others"),
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
        ("errors", "--read errors must have a name and a value, such as --read errors=skip"),
        ("foo=1", "--read foo: the name must be one of 'token_column', 'tag_columns', "),
    ):
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            read_options(None, [wrong])
        assert in_options(str(caught.value), names) == str(caught.value)
