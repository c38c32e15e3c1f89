"""Runs the examples of documentation pages; run by test_docs.py.

``python docs_worker.py FOLDER PAGE...`` runs the ``python`` blocks of each page as they are, in order, in one namespace
and in the folder ``FOLDER/NAME_OF_THE_PAGE``. What happened is written to ``FOLDER/report.json``: for each page how
many blocks were run, and of the first that failed its line, its source and the traceback.
"""

import importlib.util
import json
import os
import re
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from attempt import Attempt

BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
EXCUSE = re.compile(r"<!-- not run: \S.* -->")
CONDITION = re.compile(r"<!-- run where (\w+) is installed -->")


class Block(NamedTuple):
    line: int
    source: str
    is_excused: bool


def find_blocks(text: str) -> list[Block]:
    """The python blocks of a page, with the line on which each of them begins."""
    blocks = []
    for match in BLOCK.finditer(text):
        above = text[: match.start()].splitlines()
        comment = above[-1].strip() if above else ""
        condition = CONDITION.fullmatch(comment)
        is_missing = condition is not None and importlib.util.find_spec(condition[1]) is None
        is_excused = is_missing or EXCUSE.fullmatch(comment) is not None
        blocks.append(Block(len(above) + 2, textwrap.dedent(match[2]), is_excused))
    return blocks


def run_page(page: Path) -> dict[str, Any]:
    """Run a page's blocks in the current folder, up to the first that fails."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    num_run = 0
    for block in find_blocks(page.read_text(encoding="utf-8")):
        if block.is_excused:
            continue
        with Attempt() as attempt:
            exec(compile("\n" * (block.line - 1) + block.source, str(page), "exec"), namespace)
        if attempt.traceback:
            return {"run": num_run, "failed": {**block._asdict(), "traceback": attempt.traceback}}
        num_run += 1
    return {"run": num_run, "failed": None}


def main(folder: Path, pages: list[Path]) -> None:
    warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")  # what a page itself calls
    report = {}
    for page in pages:
        os.chdir(folder / page.stem)
        report[page.stem] = run_page(page)
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(page).resolve() for page in sys.argv[2:]])
