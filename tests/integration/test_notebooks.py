"""The notebooks run, as they stand there, against a Hub on loopback with tiny models under the names that they use.

The code of all of them runs in one process, as that of the documentation's pages does; one notebook also runs in
Jupyter itself, with a kernel.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from hub_server import HubServer
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import SpanMarkerModel

WORKER = Path(__file__).with_name("docs_worker.py")
NOTEBOOKS = {path.stem: path for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))}
IN_JUPYTER = "getting_started"
CHECKPOINT = "tomaarsen/span-marker-bert-base-fewnerd-fine-super"

FAILING = """
```python
first = 1
```
```python
assert first == 2
```
"""

EXECUTE = "import sys; from nbclient.cli import main; sys.argv[0] = 'jupyter-execute'; main()"


def read(name):
    return nbformat.read(NOTEBOOKS[name], as_version=nbformat.NO_CONVERT)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def write_models(folder):
    """An encoder with room for the text limits of the notebooks, and a checkpoint that finds something, at random."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer("wordpiece").tokenizer
    config = encoder_config("bert", len(tokenizer))
    config.max_position_embeddings = 512
    AutoModel.from_config(config).save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    labels = ["O", "person-other", "location-other"]
    model = SpanMarkerModel.from_pretrained(
        folder / "encoder", labels=labels, entity_max_length=3, candidates_per_word=None
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
        model.classifier.bias[model.config.outside_id] = -4
    model.save_pretrained(folder / "checkpoint")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What became of the cells of all notebooks and of a page that fails, and the notebook that Jupyter has run."""
    folder = tmp_path_factory.mktemp("notebooks")
    write_models(folder)
    pages = {name: folder / f"{name}.md" for name in [*NOTEBOOKS, "failing"]}
    pages["failing"].write_text(FAILING, encoding="utf-8")
    for name in NOTEBOOKS:
        blocks = [f"```python\n{cell.source}\n```\n" for cell in code_cells(read(name))]
        pages[name].write_text("".join(blocks), encoding="utf-8")
    for name in pages:
        (folder / name).mkdir()
    (folder / "jupyter").mkdir()
    copy = shutil.copy(NOTEBOOKS[IN_JUPYTER], folder / "jupyter" / "executed.ipynb")
    commands = {
        "cells": [sys.executable, str(WORKER), str(folder), *map(str, pages.values())],
        "jupyter": [sys.executable, "-c", EXECUTE, "--inplace", str(copy)],
    }
    with HubServer() as hub:
        hub.add("google-bert/bert-base-cased", folder / "encoder")
        hub.add(CHECKPOINT, folder / "checkpoint")
        own = {
            name: str(folder / "home" / name) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")
        }
        environment = {**hub.environment(folder / "home"), "OMP_NUM_THREADS": "1", **own}
        for command in commands.values():
            done = subprocess.run(
                command,
                cwd=folder / "jupyter",
                capture_output=True,
                text=True,
                env=environment,
                timeout=200,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((folder / "report.json").read_text(encoding="utf-8")), nbformat.read(copy, as_version=4)


def test_all_are_there():
    assert list(NOTEBOOKS) == ["document_context", "getting_started", "own_data", "spacy"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_cells_of_a_notebook_run(name, outcome):
    report = outcome[0][name]
    if failed := report["failed"]:
        pytest.fail(f"{name}:\n\n{failed['source']}\n{failed['traceback']}", pytrace=False)
    assert report["run"] == len(code_cells(read(name)))


def test_a_cell_that_fails_is_reported(outcome):
    report = outcome[0]["failing"]
    assert (report["run"], report["failed"]["source"]) == (1, "assert first == 2\n")


def test_a_notebook_runs_in_jupyter(outcome):
    cells = code_cells(outcome[1])
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert cells[0].outputs[-1]["data"]["text/plain"] == "['O', 'person-other', 'location-other']"
    assert "'char_start_index'" in cells[1].outputs[-1]["data"]["text/plain"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_clean(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor >= 5) == (4, True)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.source.strip() == cell.source != ""
        assert not cell.metadata
    for cell in code_cells(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
        assert "```" not in cell.source  # cells are run as blocks of a page
    assert notebook.cells[0].source.startswith("# ")
