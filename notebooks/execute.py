"""Executes the notebooks and stores their outputs: ``python notebooks/execute.py``, after ``make quickstart``.

Results and what is printed are kept; warnings, progress bars and log lines, which differ from machine to machine, are
not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path: Path) -> None:
    """Execute a notebook in its folder, and write it back."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, resources=resources, timeout=None, record_timing=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if is_kept(output)]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


def is_kept(output: nbformat.NotebookNode) -> bool:
    """Tell whether an output is a result or was printed."""
    return output.output_type == "execute_result" or output.get("name") == "stdout"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(FOLDER.glob("*.ipynb")):
        execute(path)
