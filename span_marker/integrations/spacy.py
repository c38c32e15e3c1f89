"""The spaCy component ``span_marker``. Only its factory in `span_marker_spacy` imports this module."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import torch
from spacy import util
from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Doc, Span, Token
from spacy.training import Example

from span_marker.checkpoints.loading import load_config
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.checks import check_limit, check_probability
from span_marker.core.decoding import RULES, Decoding, check_decoding
from span_marker.core.labels import OUTSIDE
from span_marker.core.streams import blocks
from span_marker.data.row_relations import RELATIONS
from span_marker.data.spacy_docs import register_score, set_spans
from span_marker.data.spacy_relations import (
    SpanRelation,
    register_found_relations,
    relations_that_stay,
    set_found_relations,
)
from span_marker.integrations.sentence_advice import advise_on_sentences
from span_marker.modeling import SpanMarkerModel
from span_marker.prediction import Entity
from span_marker.prediction.options import finds_relations
from span_marker.prediction.relations import as_columns
from span_marker.preprocessing.processes import move_to_device
from span_marker.rules.rules import all_labels

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


class SpanMarkerComponent:
    """Predicts the entities of documents with a SpanMarker model.

    The words of the model are the tokens of each sentence, without white space. A document without sentence boundaries
    is read as one text, which is right for a model that was trained on whole texts. The model is loaded when it is
    first needed.

    Args:
        name: Name of the component in the pipeline.
        model: Folder of a SpanMarker checkpoint, or its name on the Hub.
        batch_size: Maximum number of sentences in a batch of the model. ``nlp.pipe`` decides how many documents are
            read together.
        device: Device of the model, such as ``"cuda:1"``. Defaults to a GPU if one is available, else to the CPU.
        overwrite_entities: Whether the model's entities replace existing ones in ``Doc.ents``. By default existing ones
            stay, and predicted entities that overlap them are dropped.
        spans_key: Writes the entities to the group ``Doc.spans[spans_key]``, where they may overlap, instead of to
            ``Doc.ents``.
        threshold: See `span_marker.SpanMarkerModel.predict`.
        decoding: See `span_marker.SpanMarkerModel.predict`. If neither ``decoding`` nor ``spans_key`` is set, a model
            whose entities may overlap is decoded ``"flat"``.
        exact: See `span_marker.SpanMarkerModel.predict`.
        relations: Whether to also find relations: `span_marker.data.spacy_relations.SpanRelation` in
            ``Doc._.relations``, between the entities that the document ends up with. Defaults to whether the model has
            relations.
        relation_threshold: See `span_marker.SpanMarkerModel.predict`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``batch_size`` is below 1, a threshold is not from 0 to 1, the device or the decoding does not
            exist, or the decoding allows overlaps but ``spans_key`` is missing; or if another extension has the name
            ``Span._.score``, see `span_marker.data.spacy_docs.register_score`.
    """

    def __init__(
        self,
        name: str,
        model: str,
        batch_size: int = 32,
        device: str | None = None,
        overwrite_entities: bool = False,
        spans_key: str | None = None,
        threshold: float | dict[str, float] | None = None,
        decoding: str | None = None,
        exact: bool | None = None,
        relations: bool | None = None,
        relation_threshold: float | dict[str, float] | None = None,
    ) -> None:
        check_limit("batch_size", batch_size, at_least=1)
        _check_device(device)
        _check_thresholds("threshold", threshold)
        _check_thresholds("relation_threshold", relation_threshold)
        self.decoding = None if decoding is None else check_decoding(decoding)
        if self.decoding is not None and _may_overlap(self.decoding) and spans_key is None:
            raise ValueError(
                f"decoding={decoding!r} predicts overlapping entities, which Doc.ents cannot hold: set spans_key, or "
                "decoding='flat'"
            )
        if spans_key is None:
            register_score()
        if relations is not False:
            register_found_relations()
        self.name = name
        self.batch_size = batch_size
        self.device = device
        self.overwrite_entities = overwrite_entities
        self.spans_key = spans_key
        self.threshold = threshold
        self.exact = exact
        self.relations = relations
        self.relation_threshold = relation_threshold
        self._source = model
        self._model: SpanMarkerModel | None = None
        self._warnings: set[str] = set()

    @property
    def span_marker(self) -> SpanMarkerModel:
        """The model, loaded on first use. It is not called ``model``, an attribute that spaCy itself reads."""
        if self._model is None:
            self._model = _load(self._source, self.device)
        return self._model

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the model and its rules predict, for ``nlp.pipe_labels``.

        Before the model is loaded, they are taken from its configuration if that is available locally; otherwise there
        are none. Nothing is downloaded, since spaCy also asks while it loads a pipeline that includes its own model.
        """
        if self._model is not None:
            return tuple(all_labels(self._model.labels, self._model.rules))
        try:
            config = load_config(self._source, {"local_files_only": True})
        except (OSError, ValueError):  # said when the model is loaded
            return ()
        return _labels(config) if isinstance(config, SpanMarkerConfig) else ()

    def add_label(self, label: str) -> int:
        """Refuse new labels, which the model has not learned.

        Args:
            label: The label.

        Returns:
            0 if the model has the label.

        Raises:
            NotImplementedError: If it does not.
        """
        if label in self.labels:
            return 0
        raise NotImplementedError(
            f"label {label!r} cannot be added to {self.name!r}, which has only the labels that model={self._source!r} "
            "was trained with. To add a label, train a model with it, see span_marker.Trainer"
        )

    @property
    def cfg(self) -> dict[str, Any]:
        """The settings of the component."""
        names = ["batch_size", "device", "overwrite_entities", "spans_key", "threshold", "decoding", "exact"]
        names += ["relations", "relation_threshold"]
        return {"model": self._source, **{name: getattr(self, name) for name in names}}

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score predicted documents, for ``nlp.evaluate``.

        Args:
            examples: Predicted documents and their references. References without annotation are skipped.
            **kwargs: Arguments of ``Scorer.score_spans``, with a ``spans_key``.

        Returns:
            As spaCy's entity recognizer, ``ents_p``, ``ents_r``, ``ents_f`` and ``ents_per_type``; with a
            ``spans_key`` such as ``"sc"``, as its span categorizer, ``spans_sc_p`` and so on. All from 0 to 1, or None
            if no reference is annotated.
        """
        key = self.spans_key
        if key is None:
            scores: dict[str, Any] = get_ner_prf(examples)
            return scores
        options: dict[str, Any] = {
            "getter": lambda doc, _: doc.spans.get(key, ()),
            "has_annotation": lambda doc: key in doc.spans,
            "allow_overlap": True,
        }
        return Scorer.score_spans(examples, f"spans_{key}", **{**options, **kwargs})

    def __call__(self, doc: Doc) -> Doc:
        """Predict the entities of a document.

        Args:
            doc: The document, which is changed.

        Returns:
            The document.
        """
        self._annotate([doc])
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 1000) -> Iterator[Doc]:
        """Predict the entities of documents. The sentences of a batch of documents are predicted together.

        Args:
            stream: The documents, which are changed.
            batch_size: Number of documents to read together; ``nlp.pipe`` sets it.

        Yields:
            The documents, in order. An error of the stream is raised after all documents before it.
        """
        for docs in blocks((([doc], 0) for doc in stream), batch_size):
            self._annotate(docs)
            yield from docs

    def _annotate(self, docs: Sequence[Doc]) -> None:
        documents = [_find_words(doc) for doc in docs]
        if any(documents):
            is_split = [doc.has_annotation("SENT_START") for doc in docs]
            num_words = [[len(words) for words in sentences] for sentences in documents]
            trained_on = getattr(self.span_marker.config, "trained_on", None)
            self._warn_once("sentences", advise_on_sentences(self.name, num_words, is_split, trained_on))
        predictions = iter(self._predict(documents))
        for doc, sentences in zip(docs, documents, strict=True):
            spans: list[tuple[Span, float | None]] = []
            relations: list[SpanRelation] = []
            for words in sentences:
                found = as_columns(next(predictions))
                own = [_to_span(words, entity) for entity in found["entities"]]
                spans += zip(own, [entity["score"] for entity in found["entities"]], strict=True)
                relations += [
                    SpanRelation(one["label"], one["score"], own[one["head"]], own[one["tail"]])
                    for one in found.get(RELATIONS, ())
                ]
            if self.spans_key is None and not self.overwrite_entities:
                taken = {token.i for entity in doc.ents for token in entity}
                spans = [(span, score) for span, score in spans if taken.isdisjoint(range(span.start, span.end))]
                spans += [(entity, None) for entity in doc.ents]
            staying = relations_that_stay(doc, self.spans_key, self.overwrite_entities)
            set_spans(doc, spans, self.spans_key)
            looked_for = finds_relations(self.span_marker, self.relations)
            set_found_relations(doc, relations if looked_for else None, self.spans_key, staying)

    def _predict(self, documents: Sequence[list[list[Token]]]) -> list[Any]:
        """The predictions for each sentence of the documents."""
        if not any(documents):
            return []
        inputs = _to_inputs(documents, self.span_marker.config.trained_with_document_context)
        decoding = self._choose_decoding()
        found: list[Any] = self.span_marker.predict(
            inputs,
            batch_size=self.batch_size,
            is_split_into_words=True,
            threshold=self.threshold,
            decoding=decoding,
            exact=self.exact,
            relations=self.relations,
            relation_threshold=self.relation_threshold,
        )
        return found

    def _choose_decoding(self) -> Decoding | None:
        own = self.span_marker.config.decoder().decoding
        if self.decoding is not None or self.spans_key is not None or not _may_overlap(own):
            return self.decoding
        self._warn_once(
            "decoding",
            f'The model is decoded "flat" instead of "{own}", because entities in Doc.ents cannot overlap: set '
            'spans_key to get all entities in Doc.spans, or decoding="flat" to silence this warning.',
        )
        return "flat"

    def _warn_once(self, subject: str, message: str | None) -> None:
        if message is not None and subject not in self._warnings:
            self._warnings.add(subject)
            logger.warning("%s", message)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the model.

        Args:
            path: The component's folder.
            exclude: ``["model"]`` to write nothing.
        """
        util.to_disk(path, {"model": lambda folder: self.span_marker.save_pretrained(folder)}, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> SpanMarkerComponent:
        """Load the model that `to_disk` wrote. If it wrote none, the setting ``model`` is used.

        Args:
            path: The component's folder.
            exclude: ``["model"]`` to load nothing.

        Returns:
            The component itself.
        """

        def read(folder: Path) -> None:
            if folder.exists():
                self._model = _load(str(folder), self.device)

        util.from_disk(path, {"model": read}, exclude)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Write the model to bytes, its checkpoint as a zip archive. See `to_disk`."""

        def write() -> bytes:
            buffer = io.BytesIO()
            with TemporaryDirectory() as folder, ZipFile(buffer, "w") as archive:
                self.span_marker.save_pretrained(folder)
                for file in Path(folder).rglob("*"):
                    archive.write(file, file.relative_to(folder))
            return buffer.getvalue()

        return util.to_bytes({"model": write}, exclude)

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> SpanMarkerComponent:
        """Load the model that `to_bytes` wrote. See `from_disk`."""

        def read(content: bytes) -> None:
            with TemporaryDirectory() as folder, ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(folder)
                self._model = _load(folder, self.device)

        util.from_bytes(data, {"model": read}, exclude)
        return self


def _check_device(device: str | None) -> None:
    try:
        torch.device("cpu" if device is None else device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} must be None or a torch device, such as 'cpu' or 'cuda:0'") from error


def _check_thresholds(name: str, threshold: Any) -> None:
    """Check the numbers. The labels are checked when the model is loaded."""
    if isinstance(threshold, dict):
        for label, value in threshold.items():
            check_probability(f"{name}[{label!r}]", value)
    elif threshold is not None:
        check_probability(name, threshold)


def _load(source: str, device: str | None) -> SpanMarkerModel:
    try:
        model = SpanMarkerModel.from_pretrained(source)
    except OSError as error:
        raise OSError(
            f"model={source!r} must be a SpanMarker checkpoint, as a folder or as a name on the Hub: {error}"
        ) from error
    return move_to_device(model, device)


def _find_words(doc: Doc) -> list[list[Token]]:
    """The tokens of each sentence, or of the document if it has no sentence boundaries, without white space."""
    parts = doc.sents if doc.has_annotation("SENT_START") else [doc]
    sentences = [[token for token in part if not token.is_space] for part in parts]
    return [words for words in sentences if words]


def _labels(config: SpanMarkerConfig) -> tuple[str, ...]:
    return tuple(label for label in config.classes if label != OUTSIDE)


def _to_inputs(documents: Sequence[list[list[Token]]], with_context: bool) -> list[list[str]] | Dataset:
    """All sentences as ``predict`` takes them: lists of words, or with context a `Dataset` with the documents' IDs."""
    if not with_context:
        return [[token.text for token in words] for sentences in documents for words in sentences]
    from datasets import Dataset  # takes long to import

    return Dataset.from_list(
        [
            {"tokens": [token.text for token in words], "document_id": document_id, "sentence_id": sentence_id}
            for document_id, sentences in enumerate(documents)
            for sentence_id, words in enumerate(sentences)
        ]
    )


def _may_overlap(decoding: Decoding) -> bool:
    return RULES[decoding].may_nest or RULES[decoding].may_cross


def _to_span(words: list[Token], entity: Entity) -> Span:
    """The span of an entity, including the white space between its words."""
    first, last = words[entity["word_start_index"]], words[entity["word_end_index"] - 1]
    return Span(first.doc, first.i, last.i + 1, label=entity["label"])
