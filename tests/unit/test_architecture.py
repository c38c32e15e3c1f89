"""docs/architecture.md shows the rooms as they really are."""

import ast
import re
from pathlib import Path

import span_marker

PACKAGE = Path(span_marker.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")


def imports_of_the_page():
    section = PAGE.split("## The rooms")[1].split("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*)\|$", section, flags=re.MULTILINE)
    return {module: set(re.findall(r"`(\w+)`", imports)) for module, imports in rows}


def imports_of_the_code():
    """What each room, a module or a package of several, imports of the others."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room == "__init__":
            continue
        modules = found.setdefault(room, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "span_marker":
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("span_marker."):
                modules.add(node.module.split(".")[1])
        modules.discard(room)
    return found


def test_the_page_names_every_module_and_its_imports():
    assert imports_of_the_page() == imports_of_the_code()


def test_a_module_imports_only_what_stands_above_it():
    above = set()
    for module, imports in imports_of_the_page().items():
        assert imports <= above, module
        above.add(module)


def test_the_flow_names_only_modules_that_exist():
    section = PAGE.split("## How data flows")[1].split("## ")[0]
    named = set(re.findall(r"(\w+)\.py", section))
    assert named
    assert named <= {path.stem for path in PACKAGE.glob("*.py")}


def test_pure_modules_know_no_data_set_trainer_or_hub():
    for module in ("labels", "spans", "context", "windows", "attention", "decoding", "calibration", "thresholds"):
        source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
        assert not re.search(r"^(from|import) (datasets|transformers|huggingface_hub|accelerate)", source, re.MULTILINE)


def test_modules_stay_readable():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name
