"""The tools of the MCP server, in this process and over real standard input and output."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from integration.docs_worker import find_blocks
from quickstart_files import write_quickstart_with_rules

from span_marker import SpanMarkerModel
from span_marker.integrations.mcp import Limits, Session
from span_marker.rules import ListRule, Rules
from span_marker_cli import main

ROOT = Path(__file__).parents[2]
TEXT = "Cleopatra ruled Egypt. CLEOPATRA was red."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rules = Rules([ListRule("person", ["Cleopatra"]), ListRule("country", ["Egypt"])])
    return write_quickstart_with_rules(tmp_path_factory.mktemp("mcp"), rules)


@pytest.fixture(scope="module")
def model(folder):
    return SpanMarkerModel.from_pretrained(folder / "my-model")


def test_entities_are_found(model):
    session = Session(model)
    [one] = session.extract([TEXT]).entities
    assert [(e.text, e.label, e.origin) for e in one][:2] == [
        ("Cleopatra", "person", "rule"),
        ("Egypt", "country", "rule"),
    ]
    assert all(TEXT[e.start : e.end] == e.text for e in one)
    assert session.extract(["", TEXT]).entities == [[], one]
    assert session.list_labels().labels == ["person", "place", "country"]


def test_the_client_gets_a_name_of_the_map_and_not_the_map(model):
    session = Session(model)
    redacted = session.redact([TEXT])
    assert redacted.texts == ["[PERSON_1] ruled [COUNTRY_1]. CLEOPATRA was red."]
    assert "Cleopatra" not in redacted.model_dump_json()
    assert session.restore(["[COUNTRY_1] and [PERSON_1], [PERSON_2]"], redacted.mapping).texts == [
        "Egypt and Cleopatra, [PERSON_2]"
    ]


def test_later_texts_go_on_with_the_placeholders(model):
    session = Session(model)
    first = session.redact(["Egypt"])
    second = session.redact(["Cleopatra saw Egypt"], mapping=first.mapping)
    assert second.texts == ["[PERSON_1] saw [COUNTRY_1]"]
    assert second.mapping == first.mapping
    assert second.num_redacted == {"country": 1, "person": 1}
    assert session.redact(["Egypt"]).mapping != first.mapping


@pytest.mark.parametrize(
    ("how", "text"), [("label", "[COUNTRY] is hot"), ("mask", "***** is hot"), ("remove", " is hot")]
)
def test_other_ways_keep_nothing(model, how, text):
    redacted = Session(model).redact(["Egypt is hot"], how)
    assert (redacted.texts, redacted.mapping) == ([text], None)


def test_limits_are_said(model):
    session = Session(model, Limits(max_texts=2, max_characters=10, max_mappings=1, max_names=0))
    with pytest.raises(ValueError, match="3 texts, but the limit is 2"):
        session.extract(["a", "b", "c"])
    with pytest.raises(ValueError, match="11 characters, but the limit is 10"):
        session.restore(["x" * 11], "any")
    with pytest.raises(ValueError, match=r"mapping needs how='numbered', not 'mask'"):
        session.redact(["Egypt"], "mask", mapping="any")
    first = session.redact(["Egypt"]).mapping
    with pytest.raises(ValueError, match="more than max_names=0"):
        session.redact(["Egypt"], mapping=first)
    session.redact(["Egypt"])
    with pytest.raises(ValueError, match=r"no mapping .* keeps the 1 most recently used"):
        session.restore(["x"], first)


def test_without_the_sdk_the_error_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    with pytest.raises(SystemExit):
        main(["mcp", "my-model"])
    assert "span-marker mcp needs mcp.server.mcpserver, which is not installed: pip install" in capsys.readouterr().err


async def _talk(parameters):
    from mcp import Client

    async with Client(parameters) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        found = await client.call_tool("extract", {"texts": ["Cleopatra", TEXT], "threshold": {"person": 0.5}})
        redacted = await client.call_tool("redact", {"texts": ['{"in": "Egypt"}']})
        mapping = redacted.structured_content["mapping"]
        restored = await client.call_tool("restore", {"texts": ["[COUNTRY_1]!"], "mapping": mapping})
        labels = await client.call_tool("list_labels", {})
        errors = [
            await client.call_tool("restore", {"texts": ["x"], "mapping": "unknown"}),
            await client.call_tool("extract", {"texts": [TEXT], "threshold": {"nothing": 0.5}}),
            await client.call_tool("extract", {"texts": ["x"] * 4}),
            await client.call_tool("redact", {"texts": ["x"], "how": "hash"}),
            await client.call_tool("extract", {"texts": [TEXT], "threshold": 2}),
        ]
        return tools, found, redacted, restored, labels, errors


@pytest.mark.slow
def test_the_sdk_talks_to_the_command(folder):
    from mcp import StdioServerParameters

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = ["-m", "span_marker_cli", "mcp", str(folder / "my-model"), "--max-texts", "3"]
    parameters = StdioServerParameters(command=sys.executable, args=command, env=environment)
    tools, found, redacted, restored, labels, errors = asyncio.run(asyncio.wait_for(_talk(parameters), 120))
    assert set(tools) == {"extract", "redact", "restore", "list_labels"}
    assert all(tool.description and tool.output_schema for tool in tools.values())
    assert [len(entities) >= 1 for entities in found.structured_content["entities"]] == [True, True]
    assert redacted.structured_content["texts"] == ['{"in": "[COUNTRY_1]"}']
    assert restored.structured_content == {"texts": ["Egypt!"]}
    assert labels.structured_content == {"labels": ["person", "place", "country"]}
    assert all(error.is_error for error in errors)
    messages = [error.content[0].text for error in errors]
    for message, part in zip(
        messages,
        ["no mapping 'unknown'", "nothing", "4 texts, but the limit is 3", "numbered", "threshold"],
        strict=True,
    ):
        assert part in message


@pytest.mark.slow
def test_the_page_runs(folder, tmp_path, monkeypatch, capsys):
    command = tmp_path / "span-marker"  # of this tree, whatever is installed
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m span_marker_cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(folder)
    [block] = find_blocks((ROOT / "docs" / "agents.md").read_text(encoding="utf-8"))
    exec(compile(block.source, "agents.md", "exec"), {})
    assert capsys.readouterr().out == "['Cleopatra RULED Egypt.']\n"
