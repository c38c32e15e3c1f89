"""The image of the server, as far as its Dockerfile can be read: nothing is built."""

import contextlib
import io
import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer

from span_marker_cli.main import app

ROOT = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
LINES = [line.partition(" ")[::2] for line in TEXT.splitlines() if line and not line.startswith("#")]
"""Instructions and their arguments."""


def arguments(name):
    return [rest for instruction, rest in LINES if instruction == name]


def is_sent(path):
    """Whether the build may read a path: the patterns of .dockerignore leave out everything but what they name."""
    first, *others = (ROOT / ".dockerignore").read_text().split()
    assert first == "*"
    return f"!{path}" in others and not any(fnmatch(path, pattern) for pattern in others)


def test_what_it_copies_is_there():
    if not (ROOT / "span_marker").exists():
        pytest.skip("a wheel is tested, without its sources")
    copied = [name for rest in arguments("COPY") if "--from" not in rest for name in rest.split()[:-1]]
    assert {"pyproject.toml", "span_marker", "span_marker_cli"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
        assert is_sent(name), name
    (spacy_module,) = re.findall(r'^py-modules = \["(\w+)"\]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"{spacy_module}.py" in copied


def test_its_base_is_pinned():
    (base,) = arguments("ARG")[:1]
    name, _, image = base.partition("=")
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+|.+@sha256:[0-9a-f]{64}", image)
    assert {rest.partition(" ")[0] for rest in arguments("FROM")} == {f"${{{name}}}"}


def test_its_server_is_no_root_and_is_asked_how_it_is():
    last = LINES[max(place for place, (name, _) in enumerate(LINES) if name == "FROM") :]
    names = [name for name, _ in last]
    assert names.count("USER") == 1
    assert dict(last)["USER"] not in ("root", "0")
    assert names.index("USER") < names.index("ENTRYPOINT")
    (health,) = arguments("HEALTHCHECK")
    program, option, code = json.loads(health.partition(" CMD ")[2])
    assert (program, option) == ("python", "-c")
    compile(code, "health", "exec")
    assert "127.0.0.1:8000/health" in code
    assert arguments("EXPOSE") == ["8000"]


def test_its_command_is_one_of_the_command_line():
    command = [*json.loads(*arguments("ENTRYPOINT")), *json.loads(*arguments("CMD"))]
    assert command[:2] == ["span-marker", "serve"]
    serve = typer.main.get_command(app).commands["serve"]
    values = serve.make_context("serve", command[2:]).params
    assert (values["models"], values["host"], values["port"]) == (["/model"], "0.0.0.0", 8000)


def test_it_installs_what_the_package_needs():
    """Libraries are installed before the code is copied, from a list that is made of pyproject.toml."""
    tomllib = pytest.importorskip("tomllib")
    (made,) = [rest for rest in arguments("RUN") if "tomllib" in rest]
    program, option, code, arrow, _ = shlex.split(made)
    assert (program, option, arrow) == ("python", "-c", ">")
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.chdir(ROOT):
        exec(code)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert output.getvalue().split("\n")[:-1] == project["dependencies"] + project["optional-dependencies"]["serve"]
