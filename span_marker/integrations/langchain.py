"""LangChain: a document transformer that writes the entities of documents into their metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from span_marker.bulk.reader import Reader
from span_marker.core.extras import import_extra

import_extra("langchain_core.documents", "langchain-core", "langchain")

from langchain_core.documents import BaseDocumentTransformer, Document  # noqa: E402


class SpanMarkerTransformer(BaseDocumentTransformer):
    """Finds the entities of documents, and writes them into ``metadata["entities"]`` as `SpanMarkerModel.predict` does.

    The model is loaded when documents are first transformed.

    Args:
        model: Folder of a checkpoint, or its name on the Hub.
        **settings: Settings of `span_marker.bulk.Reader`, such as ``on_error`` and ``device``, and options of
            `SpanMarkerModel.predict`, such as ``batch_size`` and ``threshold``.

    Raises:
        TypeError: If there is no such setting, or ``model`` is not a path.
        ValueError: If ``on_error`` is unknown.
    """

    def __init__(self, model: str, **settings: Any) -> None:
        self._reader = Reader(model, **settings)

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> Sequence[Document]:
        """Find the entities of documents.

        Args:
            documents: The documents, which are not changed.
            **kwargs: Ignored.

        Returns:
            Copies with ``entities`` in their metadata, dicts whose indices count characters of the content; and
            ``relations`` if the model has them. Values of an earlier run under these keys are replaced or removed.
        """
        readings = self._reader.read([document.page_content for document in documents])
        return [
            document.model_copy(update={"metadata": reading.add_to_metadata(document.metadata, self._reader.on_error)})
            for document, reading in zip(documents, readings, strict=True)
        ]
