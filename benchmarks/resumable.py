"""Results of long measurements, written part by part: called again, a script that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed import machine


class Results:
    """The parts of a measurement, in a file.

    Args:
        path: The file.
        settings: What was asked for. Parts that were measured with other settings are not mixed with new ones.

    Raises:
        ValueError: If the file holds results of other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        settings = json.loads(json.dumps(settings))
        self.content: dict[str, Any] = {"machine": machine(), "settings": settings, "parts": {}}
        if path.exists():
            self.content = json.loads(path.read_text(encoding="utf-8"))
            if self.content.get("settings") != settings:
                raise ValueError(
                    f"{path} has results with the settings {self.content.get('settings')}, not {settings}: remove it, "
                    "or pass another file as --results"
                )

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """Measure a part, unless it is there, and write it.

        Args:
            name: Its name.
            measure: Returns something for JSON.

        Returns:
            What was measured, now or before.
        """
        if name not in self.content["parts"]:
            self.content["parts"][name] = measure()
            self.write()
        return self.content["parts"][name]

    def write(self, **more: Any) -> None:
        """Write everything, with more entries, so that the file is whole at any time."""
        self.content |= more
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self._path)


def show_demands(demands: dict[str, bool]) -> int:
    """Print which demands are met, and return an exit status: 0 if all are."""
    for text, is_met in demands.items():
        print(f"{'met' if is_met else 'NOT MET'}: {text}")
    return 0 if all(demands.values()) else 1
