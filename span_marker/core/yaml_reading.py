"""Strict reading of YAML: like `yaml.safe_load`, but a repeated name in a mapping is an error."""

from __future__ import annotations

from typing import Any

import yaml


def parse_yaml(text: str) -> Any:
    """Read a YAML text.

    Args:
        text: The text.

    Returns:
        The value.

    Raises:
        yaml.YAMLError: If the text is not YAML, or a mapping has a repeated name, for which YAML would keep the last
            value.

    Example:
        >>> parse_yaml("{PER: person, MISC: }")
        {'PER': 'person', 'MISC': None}
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """Refuses a mapping in which a name occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for index, (key, _) in enumerate(node.value):
            if key.value in keys[:index]:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} occurs twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)
