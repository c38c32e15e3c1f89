"""Presidio: a recognizer for its analyzer that reads the texts of a batch together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from span_marker.core.extras import import_extra
from span_marker.core.streams import blocks
from span_marker.modeling import SpanMarkerModel
from span_marker.preprocessing.processes import move_to_device
from span_marker.rules.rules import all_labels

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine, LocalRecognizer, RecognizerResult
    from presidio_analyzer.nlp_engine import NlpArtifacts
else:
    _PRESIDIO = import_extra("presidio_analyzer", "presidio-analyzer", "presidio", "SpanMarkerRecognizer needs")
    LocalRecognizer = _PRESIDIO.LocalRecognizer

PRESIDIO_ENTITIES: dict[str, str] = {
    **dict.fromkeys(["PER", "PERSON", "NAME", "FIRST_NAME", "LAST_NAME", "PATIENT", "DOCTOR"], "PERSON"),
    **dict.fromkeys(["LOC", "LOCATION", "GPE", "PLACE", "CITY", "COUNTRY", "ADDRESS", "FAC"], "LOCATION"),
    **dict.fromkeys(["ORG", "ORGANIZATION", "COMPANY", "CORPORATION", "HOSPITAL"], "ORGANIZATION"),
    **dict.fromkeys(["DATE", "TIME", "DATETIME", "DATE_TIME"], "DATE_TIME"),
    **dict.fromkeys(["EMAIL", "EMAIL_ADDRESS", "E_MAIL"], "EMAIL_ADDRESS"),
    **dict.fromkeys(["PHONE", "PHONE_NUMBER", "TELEPHONE"], "PHONE_NUMBER"),
    **dict.fromkeys(["CREDIT_CARD", "CREDIT_CARD_NUMBER", "CARD_NUMBER"], "CREDIT_CARD"),
    **dict.fromkeys(["IBAN", "IBAN_CODE"], "IBAN_CODE"),
    **dict.fromkeys(["IP", "IP_ADDRESS"], "IP_ADDRESS"),
    **dict.fromkeys(["SSN", "US_SSN"], "US_SSN"),
    **dict.fromkeys(["NORP", "NRP"], "NRP"),
}
"""Presidio's name for each label, in upper case and with ``_`` for white space and hyphens."""

TEXTS_AHEAD = 256
"""Minimum number of texts to read together: enough to form batches of sentences of similar length."""

NOT_SET_HERE = {
    "is_split_into_words",
    "keep_columns",
    "offsets",
    "relation_threshold",
    "relations",
    "return_coverage",
    "show_progress_bar",
    "top_k",
}
"""Options of ``predict`` that change its output format. Presidio has no relations."""


class SpanMarkerRecognizer(LocalRecognizer):
    """Finds entities for `presidio_analyzer.AnalyzerEngine` with a SpanMarker model.

    `add_to` adds it to an analyzer so that, with `presidio_analyzer.BatchAnalyzerEngine`, the model reads the texts of
    a batch together. If added in another way, it reads one text at a time.

    Context words work as in Presidio: pass ``context``, and the analyzer raises the scores of entities near these
    words.

    Args:
        model: A model; or the folder of a checkpoint, or its name on the Hub, which is loaded immediately.
        supported_language: Language of the texts that Presidio passes to this recognizer. For several languages, create
            one recognizer per language with the same loaded model.
        label_mapping: Presidio's entity name for each label of the model, or None to leave the label out. It extends
            and overrides `PRESIDIO_ENTITIES`. Labels in neither keep their name.
        threshold: See `span_marker.SpanMarkerModel.predict`: the minimum for the model to return an entity. Presidio's
            own thresholds, ``score_threshold`` and ``score_thresholds``, apply after context words.
        supported_entities: Presidio's names of the entities to find. Defaults to those of all labels.
        context: Words that raise the score of entities near them.
        name: Name of the recognizer in explanations. Defaults to the name of the class.
        device: Device to move the model to, such as ``"cuda:1"``. By default it is not moved.
        score_thresholds: See `presidio_analyzer.EntityRecognizer`; needs a version of Presidio that supports it.
        **options: Other options of `span_marker.SpanMarkerModel.predict`, such as ``batch_size`` and ``propagate``.

    Attributes:
        span_marker: The model.
        label_mapping: Presidio's name for each label of the model that is not left out.

    Raises:
        TypeError: If ``predict`` has no such option, or the option changes its output format.
        ValueError: If ``label_mapping`` has a label, or ``supported_entities`` an entity, that the model does not have,
            or an option is wrong.

    Example:
        >>> recognizer = SpanMarkerRecognizer("my-model", threshold=0.6)  # doctest: +SKIP
        >>> recognizer.add_to(analyzer)  # doctest: +SKIP
    """

    name: str

    def __init__(
        self,
        model: str | SpanMarkerModel,
        supported_language: str = "en",
        *,
        label_mapping: Mapping[str, str | None] | None = None,
        threshold: float | dict[str, float] | None = None,
        supported_entities: Sequence[str] | None = None,
        context: Sequence[str] | None = None,
        name: str | None = None,
        device: str | None = None,
        score_thresholds: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        if unknown := options.keys() & NOT_SET_HERE:
            raise TypeError(f"{min(unknown)!r} cannot be set here, because it changes the output format of predict")
        loaded: Any = SpanMarkerModel.from_pretrained(model) if isinstance(model, str) else model
        self.span_marker: SpanMarkerModel = loaded if device is None else move_to_device(loaded, device)
        self.options: dict[str, Any] = {"threshold": threshold, "relations": False, **options}
        self.span_marker.predict([], is_split_into_words=False, **self.options)  # checks the options
        labels = all_labels(self.span_marker.labels, self.span_marker.rules)
        self.label_mapping = map_labels(labels, label_mapping or {})
        self._batches: WeakKeyDictionary[NlpArtifacts, TextBatch] = WeakKeyDictionary()
        entities = sorted(set(self.label_mapping.values()))
        if unknown := set(supported_entities or ()) - set(entities):
            raise ValueError(f"supported_entities has {min(unknown)!r}, but the model's entities are {entities}")
        newer: dict[str, Any] = {} if score_thresholds is None else {"score_thresholds": dict(score_thresholds)}
        super().__init__(
            supported_entities=list(supported_entities or entities),
            supported_language=supported_language,
            context=list(context or ()),
            name=name or type(self).__name__,
            **newer,
        )

    def load(self) -> None:
        """Do nothing: the constructor loads the model, since Presidio needs its labels."""

    def add_to(self, analyzer: AnalyzerEngine) -> None:
        """Add the recognizer to an analyzer, and let it see the batches of the analyzer's NLP engine.

        Args:
            analyzer: The analyzer, which is changed: its NLP engine works as before, and also tells the recognizer
                which texts form a batch. At least 256 texts are in memory at a time.
        """
        analyzer.registry.add_recognizer(self)
        engine: Any = BatchingEngine(analyzer.nlp_engine, self)
        analyzer.nlp_engine = engine

    def expect(self, batch: Sequence[tuple[str, NlpArtifacts]]) -> None:
        """Register the texts of a batch. They are read when the analyzer asks for the first of them.

        Args:
            batch: The texts, and the NLP engine's artifacts for each.
        """
        texts = TextBatch(self, [text for text, _ in batch])
        for _, artifacts in batch:
            self._batches[artifacts] = texts

    def predict(self, texts: Sequence[str]) -> list[list[Any]]:
        """Find the entities of texts, with the model's labels.

        Args:
            texts: The texts.

        Returns:
            The entities of each.
        """
        return self.span_marker.predict(texts, is_split_into_words=False, **self.options)

    def analyze(
        self, text: str, entities: Sequence[str] | None, nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """Find the entities of a text, for the analyzer.

        Args:
            text: The text.
            entities: Presidio's names of the entities to return; None for all that are supported.
            nlp_artifacts: The NLP engine's artifacts for the text.

        Returns:
            The entities, with the model's label and its score in their explanation.
        """
        batch = None if nlp_artifacts is None else self._batches.get(nlp_artifacts)
        if batch is None or text not in batch.texts:
            batch = TextBatch(self, [text])
        wanted = self.supported_entities if entities is None else {*entities} & {*self.supported_entities}
        return [
            self._to_result(entity, self.label_mapping[entity["label"]])
            for entity in batch.entities[text]
            if self.label_mapping.get(entity["label"]) in wanted
        ]

    def _to_result(self, entity: Mapping[str, Any], entity_type: str) -> RecognizerResult:
        from presidio_analyzer import AnalysisExplanation, RecognizerResult

        reason = f"Identified as {entity['label']} by a SpanMarker model"
        if "origin" in entity:
            reason = f"Identified as {entity['label']} by a {entity['origin']['kind']}"
        return RecognizerResult(
            entity_type=entity_type,
            start=entity["char_start_index"],
            end=entity["char_end_index"],
            score=entity["score"],
            analysis_explanation=AnalysisExplanation(self.name, entity["score"], textual_explanation=reason),
            recognition_metadata={
                RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
            },
        )


class TextBatch:
    """Texts that are read together, when the entities of one of them are needed.

    Args:
        recognizer: The recognizer.
        texts: The texts. Those that occur several times are read once.
    """

    def __init__(self, recognizer: SpanMarkerRecognizer, texts: Iterable[str]) -> None:
        self.texts = dict.fromkeys(texts)
        self._recognizer = recognizer

    @cached_property
    def entities(self) -> dict[str, list[Any]]:
        """The entities of each text."""
        return dict(zip(self.texts, self._recognizer.predict(list(self.texts)), strict=True))


class BatchingEngine:
    """An NLP engine that tells a recognizer which texts form a batch.

    Args:
        engine: The engine, which does everything else.
        recognizer: The recognizer.
    """

    def __init__(self, engine: Any, recognizer: SpanMarkerRecognizer) -> None:
        self.engine = engine
        self.recognizer = recognizer

    def __getattr__(self, name: str) -> Any:
        if name == "engine":  # of an object that is being copied
            raise AttributeError(name)
        return getattr(self.engine, name)

    def process_batch(
        self, texts: Iterable[Any], language: str, batch_size: int = 1, n_process: int = 1, **options: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Process texts with the engine.

        Args:
            texts: The texts.
            language: Their language.
            batch_size: Number of texts that the engine processes together.
            n_process: Number of processes of the engine.
            **options: Other options of the engine.

        Yields:
            The output of the engine: each text and its artifacts.
        """
        processed = self.engine.process_batch(texts, language, batch_size, n_process, **options)
        for batch in blocks((([item], 0) for item in processed), max(batch_size, TEXTS_AHEAD)):
            if language == self.recognizer.supported_language:
                self.recognizer.expect([(str(item[0]), item[1]) for item in batch])
            yield from batch


def map_labels(labels: Iterable[str], own: Mapping[str, str | None]) -> dict[str, str]:
    """Find Presidio's name for each label of a model.

    Args:
        labels: The labels.
        own: Names that override `PRESIDIO_ENTITIES`; None leaves a label out.

    Returns:
        The name for each label that is not left out. Unknown labels keep their name.

    Raises:
        ValueError: If ``own`` has a label that the model does not have.

    Example:
        >>> map_labels(["per", "Phone number", "aircraft", "misc"], {"misc": None})
        {'per': 'PERSON', 'Phone number': 'PHONE_NUMBER', 'aircraft': 'aircraft'}
    """
    known = list(labels)
    if unknown := sorted(own.keys() - set(known)):
        raise ValueError(f"label_mapping has {unknown[0]!r}, but the model's labels are {known}")
    names = {label: PRESIDIO_ENTITIES.get(re.sub(r"[\s-]+", "_", label.upper()), label) for label in known}
    return {label: name for label, name in {**names, **own}.items() if name is not None}
