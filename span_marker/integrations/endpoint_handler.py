"""Request handler for Inference Endpoints, which runs the SpanMarker checkpoint in the folder of this file."""

from __future__ import annotations

from typing import Any

import span_marker


class EndpointHandler:
    """Predicts the entities of the texts in requests.

    Args:
        path: The folder of the checkpoint.
    """

    def __init__(self, path: str = "") -> None:
        task: Any = "span-marker"
        self.pipeline: Any = span_marker.pipeline(task, model=path or ".")

    def __call__(self, data: dict[str, Any]) -> Any:
        """Answer a request.

        Args:
            data: The request: ``inputs``, a text or a list of texts; and optionally ``parameters``, a dict with
                ``threshold``, ``decoding``, ``top_k``, ``exact``, ``batch_size``, ``offsets``, ``split_sentences`` or
                ``relations``, see ``SpanMarkerModel.predict``. JavaScript clients need ``offsets="utf-16"``.

        Returns:
            The entities of the text, or a list of such lists; with ``relations=true``, a dict of ``entities`` and
            ``relations`` in place of each list. An entity is a dict with ``entity_group``, ``score``,
            ``word``, ``start`` and ``end`` (characters, end exclusive), as in the task ``"token-classification"``.

        Raises:
            TypeError: If a parameter is unknown, or a value has the wrong type.
            ValueError: If ``inputs`` is missing, or the value of a parameter is wrong.
        """
        if "inputs" not in data:
            raise ValueError(f"the request needs 'inputs', a text or a list of texts, but its keys are {list(data)}")
        inputs, parameters = data["inputs"], dict(data.get("parameters") or {})
        if not isinstance(inputs, (str, list)):
            raise TypeError(f"'inputs' must be a text or a list of texts, not {type(inputs).__name__}")
        parameters["aggregation_strategy"] = parameters.get("aggregation_strategy") or "simple"
        return self.pipeline(inputs, **parameters)
