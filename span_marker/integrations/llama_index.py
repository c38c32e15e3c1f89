"""LlamaIndex: an extractor that writes the entities of nodes into their metadata."""

import asyncio
from collections.abc import Sequence
from typing import Any

from span_marker.bulk.reader import Reader
from span_marker.core.extras import import_extra
from span_marker.prediction.readings import ADDED, former_names

import_extra("llama_index.core", "llama-index-core", "llama-index")

from llama_index.core.extractors import BaseExtractor  # noqa: E402
from llama_index.core.schema import BaseNode, MetadataMode  # noqa: E402
from pydantic import Field, PrivateAttr  # noqa: E402


class SpanMarkerExtractor(BaseExtractor):
    """Finds the entities of nodes, and writes them into ``metadata["entities"]`` as `SpanMarkerModel.predict` does.

    The model is loaded on first use. It reads the text of a node without its metadata. By default, entities are
    excluded from embeddings and from the prompts of language models; pass other lists of excluded keys to include them.

    Args:
        model: Folder of a checkpoint, or its name on the Hub.
        settings: Settings of `span_marker.bulk.Reader`, such as ``on_error`` and ``device``, and options of
            `SpanMarkerModel.predict`, such as ``batch_size`` and ``threshold``.
        **fields: Fields of `BaseExtractor`, such as ``in_place``.

    Raises:
        TypeError: If there is no such setting, or ``model`` is not a path.
        ValueError: If ``on_error`` is unknown.
    """

    model: str
    settings: dict[str, Any] = Field(default_factory=dict)
    _reader: Reader = PrivateAttr()

    def __init__(self, model: str, settings: dict[str, Any] | None = None, **fields: Any) -> None:
        super().__init__(**{"model": model, "settings": settings or {}, **fields})
        self._reader = Reader(model, **self.settings)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which pipelines know the extractor."""
        return "SpanMarkerExtractor"

    async def aextract(self, nodes: Sequence[BaseNode]) -> list[dict[str, Any]]:
        """Find the entities of nodes, in a thread.

        Args:
            nodes: The nodes.

        Returns:
            For each, ``{"entities": ...}``: dicts whose indices count characters of its text; and ``relations`` if the
            model has them.
        """
        texts = [node.get_content(MetadataMode.NONE) for node in nodes]
        places = [f"node {node.node_id!r}" for node in nodes]
        return [reading.columns() for reading in await asyncio.to_thread(self._reader.read, texts, places)]

    async def aprocess_nodes(
        self,
        nodes: Sequence[BaseNode],
        excluded_embed_metadata_keys: list[str] | None = None,
        excluded_llm_metadata_keys: list[str] | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """See `BaseExtractor`. Entities, relations and errors are excluded by default, and replaced."""
        lists = (excluded_embed_metadata_keys, excluded_llm_metadata_keys)
        excluded = [[*ADDED] if keys is None else keys for keys in lists]
        return await super().aprocess_nodes(list(map(self._without_former, nodes)), *excluded, **kwargs)

    def _without_former(self, node: BaseNode) -> BaseNode:
        """A node without the results of an earlier run, which the base class would keep."""
        former = former_names(node.metadata, self._reader.on_error)
        metadata = {name: value for name, value in node.metadata.items() if name not in former}
        if former and self.in_place:
            node.metadata = metadata
        return node.model_copy(update={"metadata": metadata}) if former and not self.in_place else node
