"""Haystack: a component that writes the entities of documents into their metadata."""

import dataclasses
from typing import Any

from span_marker.bulk.reader import Reader
from span_marker.core.extras import import_extra

import_extra("haystack", "haystack-ai", "haystack")

from haystack import Document, component, default_from_dict, default_to_dict  # noqa: E402


@component
class SpanMarkerExtractor:
    """Finds the entities of documents, and writes them into ``meta["entities"]`` as `SpanMarkerModel.predict` does.

    The model is loaded by `warm_up`, or on the first run.

    Args:
        model: Folder of a checkpoint, or its name on the Hub.
        **settings: Settings of `span_marker.bulk.Reader`, such as ``on_error`` and ``device``, and options of
            `SpanMarkerModel.predict`, such as ``batch_size`` and ``threshold``. To save a pipeline, they must be
            representable in YAML.

    Raises:
        TypeError: If there is no such setting, or ``model`` is not a path.
        ValueError: If ``on_error`` is unknown.
    """

    def __init__(self, model: str, **settings: Any) -> None:
        self.model = model
        self.settings = settings
        self._reader = Reader(model, **settings)

    def warm_up(self) -> None:
        """Load the model."""
        self._reader.load()

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Find the entities of documents.

        Args:
            documents: The documents, which are not changed.

        Returns:
            ``{"documents": ...}``: copies with the same IDs and ``entities`` in their metadata, dicts whose indices
            count characters of the content; and ``relations`` if the model has them. With ``on_error="column"``,
            documents that cannot be read have an ``error``. Values of an earlier run under these keys are replaced or
            removed.

        Raises:
            TypeError: If a document has no text, and ``on_error`` is ``"raise"``.
        """
        places = [f"document {document.id!r}" for document in documents]
        readings = self._reader.read([document.content for document in documents], places)
        pairs = zip(documents, readings, strict=True)
        metas = [(old, new.add_to_metadata(old.meta, self._reader.on_error)) for old, new in pairs]
        return {"documents": [dataclasses.replace(document, meta=meta) for document, meta in metas]}

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dict, for a pipeline that is saved."""
        return default_to_dict(self, model=self.model, **self.settings)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "SpanMarkerExtractor":
        """Read the output of `to_dict`."""
        return default_from_dict(cls, data)
