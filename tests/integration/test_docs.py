"""The examples of the documentation run, as they stand there.

A page finds in its folder what the quickstart leaves, small: ``my-model``, a checkpoint, ``train.jsonl``,
``dev.jsonl`` and ``test.jsonl``; and on the Hub the encoder ``google-bert/bert-base-cased``, tiny and untrained, and
the checkpoint as ``user/my-model`` and under the name of a published one. It is logged in as ``user``. A block that
cannot be run says why, in the line above it: ``<!-- not run: REASON -->``, or ``<!-- run where NAME is installed -->``
for a package that tests do without. A page must call nothing that is deprecated.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_worker import find_blocks
from hub_server import HubServer
from quickstart_files import write_encoder, write_quickstart

WORKER = Path(__file__).with_name("docs_worker.py")
DOCS = Path(__file__).parents[2] / "docs"
NAMES = """
context model_cards hub pipelines parallel scale spacy training error_analysis install quickstart from_1x how_it_works
data entities scores validation encoders candidate_filter speed server small_models redaction rules
tables search curation relations
""".split()
PAGES = [DOCS.parent / "README.md", *(DOCS / f"{name}.md" for name in NAMES)]
SLOW = [DOCS / "export.md"]
"""Pages whose examples take half a minute."""

FAILING = """
```python
first = 1
```

Some text.

<!-- not run: it would fail -->
```python
raise SystemExit("excused")
```

- In a list:

  ```python
  second = first + 1
  assert second == 3
  ```
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return run_pages(tmp_path_factory.mktemp("docs"), PAGES)


@pytest.fixture(scope="module")
def slow_report(tmp_path_factory):
    return run_pages(tmp_path_factory.mktemp("docs"), SLOW)


def run_pages(folder, pages):
    """Run pages, and one of ours that fails, in one process, each in a folder of its own."""
    page_folder, failing = folder / "files", folder / "failing.md"
    write_encoder(folder / "encoder")
    write_quickstart(page_folder, folder / "encoder")
    failing.write_text(FAILING, encoding="utf-8")
    pages = [failing, *pages]
    for page in pages:
        shutil.copytree(page_folder, folder / page.stem)
    with HubServer(tokens={"hf_writer": "user"}) as hub:
        hub.add("google-bert/bert-base-cased", folder / "encoder")
        hub.add("user/my-model", page_folder / "my-model")
        hub.add("tomaarsen/span-marker-bert-base-fewnerd-fine-super", page_folder / "my-model")
        environment = {**hub.environment(folder / "home", token="hf_writer"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(WORKER), str(folder), *map(str, pages)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page, report):
    check(page, report)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=lambda page: page.name)
def test_the_examples_of_a_slow_page_run(page, slow_report):
    check(page, slow_report)


def check(page, report):
    outcome = report[page.stem]
    if failed := outcome["failed"]:
        lines = f"{page.name}, line {failed['line']}:\n\n{failed['source']}\n{failed['traceback']}"
        pytest.fail(lines, pytrace=False)
    blocks = find_blocks(page.read_text(encoding="utf-8"))
    assert blocks
    assert outcome["run"] == sum(not block.is_excused for block in blocks)


ALL = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]


def test_the_examples_of_every_page_run_somewhere():
    by_unit_tests = {DOCS / "agents.md", DOCS / "presidio.md"}  # test_mcp.py and test_presidio.py
    for page in {*ALL} - {*PAGES, *SLOW} - by_unit_tests:
        assert all(block.is_excused for block in find_blocks(page.read_text(encoding="utf-8"))), page.name


def test_one_page_says_how_to_use_8_bits_of_pytorch():
    """The lines run where torchao is installed, and use nothing that is deprecated."""
    texts = {page.name: page.read_text(encoding="utf-8") for page in ALL}
    lines = re.compile(r"torchao|quantize_|torch\.(ao\.)?quantization|qint8")
    blocks = [
        (name, block) for name, text in texts.items() for block in find_blocks(text) if lines.search(block.source)
    ]
    assert [name for name, _ in blocks] == ["speed.md"]
    above = texts["speed.md"].splitlines()[blocks[0][1].line - 3]
    assert above.strip() == "<!-- run where torchao is installed -->"
    assert "quantize_dynamic" not in blocks[0][1].source


def test_one_page_says_how_fast_token_classification_is():
    """Others that compare speeds with it link to the answer."""
    answer = "speed.md#compared-with-token-classification"
    assert "## Compared with token classification" in (DOCS / "speed.md").read_text(encoding="utf-8")
    speeds = re.compile(r"(?:times|half|fifth) as (?:many sentences|fast)|\*\*[\d.]+x\*\*")
    comparing = set()
    for page in ALL:
        text = page.read_text(encoding="utf-8")
        sections = re.split(r"^#+ ", text, flags=re.MULTILINE)
        if any("token classif" in section and speeds.search(section) for section in sections):
            comparing.add(page.name)
            assert page.name == "speed.md" or answer in text, page.name
    assert {"speed.md", "case_studies.md", "candidate_filter.md"} <= comparing


def test_a_block_that_fails_is_reported(report):
    failed = report["failing"]["failed"]
    assert report["failing"]["run"] == 1
    assert (failed["line"], failed["source"]) == (16, "second = first + 1\nassert second == 3\n")
    assert 'failing.md", line 17, in <module>\n    assert second == 3' in failed["traceback"]


def test_an_excuse_gives_a_reason():
    page = "```python\n1\n```\n<!-- not run: needs a GPU -->\n```python\n2\n```\n<!-- not run: -->\n```python\n3\n```\n"
    assert [tuple(block) for block in find_blocks(page)] == [(2, "1\n", False), (6, "2\n", True), (10, "3\n", False)]


def test_a_block_may_need_a_package():
    page = "".join(f"<!-- run where {name} is installed -->\n```python\n1\n```\n" for name in ("json", "no_such_thing"))
    assert [block.is_excused for block in find_blocks(page)] == [False, True]
