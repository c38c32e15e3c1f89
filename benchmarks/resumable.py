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
        ValueError: If the file holds results of other settings, of another commit, or of another machine.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self.content: dict[str, Any] = json.loads(json.dumps({"machine": machine(), "settings": settings, "parts": {}}))
        if path.exists():
            known, now = json.loads(path.read_text(encoding="utf-8")), self.content
            for name in ("settings", "machine"):
                before, after = ({**content.get(name, {}), "date": None} for content in (known, now))
                if differing := sorted(key for key in {**before, **after} if before.get(key) != after.get(key)):
                    changes = ", ".join(f"{key}={before.get(key)!r}, not {after.get(key)!r}" for key in differing)
                    raise ValueError(
                        f"{path} has results of other {name} ({changes}): remove it, or pass another file as --results"
                    )
            self.content = known

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
