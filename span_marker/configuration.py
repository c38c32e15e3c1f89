"""SpanMarkerConfig: the configuration of a SpanMarker model, validated, and readable by the 1.x library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from span_marker.core.checks import check_limit
from span_marker.core.filter_settings import PairFilterConfig as PairFilterConfig
from span_marker.core.filter_settings import SpanFilterConfig as SpanFilterConfig
from span_marker.core.labels import check_labels, detect_scheme, reduce_labels
from span_marker.core.notation import read_labels
from span_marker.core.settings import AUTO as AUTO
from span_marker.core.settings import LARGEST_LIMIT, ModelSettings
from span_marker.core.settings import NO_THRESHOLDS as NO_THRESHOLDS
from span_marker.core.word_splitters import TrainedOn, splitter_name
from span_marker.version import __version__

DEFAULT_MARKER_MAX_LENGTH = 128

FOREIGN_SETTINGS = (
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "num_labels",
)
"""Ignored entries of a configuration. Span markers use their own attention, and ``num_labels`` follows from the labels.

The first four may name a repository with kernels, which is code that ``transformers`` would load."""

HAS_CODE = "has_code"
"""Key in the configuration of an encoder whose code is stored in the checkpoint."""


class SpanMarkerConfig(ModelSettings, PreTrainedConfig):
    """Configuration of a SpanMarker model.

    Args:
        encoder: The encoder's configuration, or its saved form, a dict. Dicts are only converted to classes that
            ``transformers`` itself provides.
        labels: The tags of the data set, such as ``B-PER``, in the order of their IDs and including ``O``. Required for
            new models; saved configurations store them in ``encoder["id2label"]``.
        model_max_length: The maximum number of tokens of a text, including special tokens. Defaults to
            ``model_max_length_default``.
        marker_max_length: Number of marker pairs per sentence that the dense engine and the 1.x library process at a
            time. It does not change results. The fast engine limits its memory on its own.
        entity_max_length: The maximum number of words of an entity. The words of a text are determined by the
            tokenizer, which usually splits at punctuation: ``X-200/B`` has five words. For new models, this and
            ``model_max_length`` may be ``"auto"``: ``Trainer`` then sets them from the training data, see
            `span_marker.suggest_limits`. ``"auto"`` is the default of ``entity_max_length`` if the labels of a new
            model come from data.
        max_prev_context: The maximum number of sentences of document context before a sentence; None for no limit.
        max_next_context: The maximum number of sentences of document context after a sentence; None for no limit.
        trained_with_document_context: Whether the model was trained with document context.
        model_max_length_default: The text limit if ``model_max_length`` is None.
        id2reduced_id: Class ID of each tag ID, computed from ``labels``, for the 1.x library.
        multi_label: Whether a span may have several labels, each with its own probability.
        decoding: How overlaps between entities are resolved, see `span_marker.core.decoding`. Defaults to ``"flat"``,
            or to ``"nested"`` for multi-label models. Training sets it if the data contains overlaps that the default
            cannot predict.
        calibration_temperature: Divisor of the class scores, see `span_marker.calibrate`.
        thresholds: The minimum probability of each label, see ``SpanMarkerModel.predict``; None for no thresholds.
        candidates_per_word: Number of candidates per word of a sentence that get markers in training, in addition to
            the gold spans. They are the highest-scoring candidates of a filter that is trained jointly with the
            classifier. With ``entity_max_length`` or more, all candidates get markers. If None, no filter is trained.
        letter_case: Whether the model reads the letter case of words, because its tokenizer drops it: a learned
            embedding is added to those of the tokens, see `span_marker.core.letter_case`. It must match the weights.
            New models use it if their tokenizer drops the case; 1.x does not support it.
        token_state_size: Size of the token states that the classifier reads besides those of the markers: for each
            candidate the states of its first and last token, see `span_marker.heads.token_states`. None if it only
            reads markers, as in 1.x. It is set when a model is created, and must match the weights.
        word_splitter: How strings are split into words, see `span_marker.core.word_splitters`: one of its `NAMES`, or a
            function from a string to the first character and the one after the last of each word. Only the name of a
            function is saved. With ``"auto"``, the default of new models, training chooses the splitter.
        word_rules: The rules of ``word_splitter="fitted"``: a `WordRules`, or its saved form, a dict.
        trained_on: Describes the latest training data: a `TrainedOn`, or its saved form, a dict. None if unknown.
            ``Trainer`` sets it.
        compression: How the model was compressed, for its card: a dict from each affected part, such as ``"Layers"``,
            to a description, see `span_marker.compression`. None if it was not compressed.
        span_filter: The settings of the candidate filter: a `SpanFilterConfig`, or its saved form, a dict. None for
            models without a filter.
        exact: Whether all candidates and pairs get markers in prediction, even if the model has filters.
        relation_labels: The labels of relations between two entities. ``"no relation"`` is added in front of them, with
            the ID 0. None for models without relations.
        symmetric_relations: The relations whose head and tail can be exchanged, such as "married to". Their pairs are
            scored once, with the entity that comes first as the head. With None, training chooses the relations that
            the training data contains in both directions. ``[]`` means that no relation is symmetric.
        relation_types: Which labels the head and the tail of a relation may have: lists of three labels, of the head,
            the relation and the tail. A relation without such a list may join any entities. With None, training chooses
            the types in the training data, for relations with enough examples, see
            `span_marker.core.relation_statistics.RelationStatistics.known_types`. ``"any"`` allows all types.
        relation_thresholds: The minimum probability of each relation, see ``SpanMarkerModel.predict``; None for no
            thresholds.
        pair_filter: The settings of the filter of pairs of entities: a `PairFilterConfig`, or its saved form, a dict.
            None for models without one.
        span_marker_version: Version of the library that created the model.
        **kwargs: Arguments of ``PreTrainedConfig``, such as ``id2label`` and ``label2id``.

    Raises:
        ValueError: If a limit is below 1, ``decoding`` is unknown, a threshold is not a probability, or a list of
            labels lacks ``O``, repeats a label, or contains only ``O``.
    """

    model_type = "span-marker"
    sub_configs: ClassVar[dict[str, Any]] = {"encoder": AutoConfig}

    encoder: Any = None  # None only in an empty configuration
    marker_max_length: int = DEFAULT_MARKER_MAX_LENGTH
    id2reduced_id: dict[int, int] | None = None
    trained_on: TrainedOn | None = None
    compression: dict[str, str] | None = None
    span_marker_version: str = __version__

    def __post_init__(self, labels: Sequence[str] | None = None, **kwargs: Any) -> None:
        """Build the parts that are passed as dicts, reduce the tags to classes, and check all settings."""
        self.encoder = _encoder_config(self.encoder)
        self.build_parts()
        if self.trained_on is not None and not isinstance(self.trained_on, TrainedOn):
            self.trained_on = TrainedOn.from_dict(self.trained_on)
        if labels is not None:
            self.set_labels(read_labels(labels))
        self.id2reduced_id = {int(tag): int(reduced) for tag, reduced in (self.id2reduced_id or {}).items()}
        super().__post_init__(**{name: value for name, value in kwargs.items() if name not in FOREIGN_SETTINGS})
        self.check_limits()

    def set_labels(self, labels: Sequence[str]) -> None:
        """Set the tags and the classes. This does not change the classifier of a model.

        Args:
            labels: The tags, or plain labels, in the order of their IDs and including ``O``.

        Raises:
            TypeError: If they are not a list of strings.
            ValueError: If ``O`` is missing, a label is repeated, or ``O`` is the only label.
        """
        classes, self.id2reduced_id = reduce_labels(labels)
        self.id2label, self.label2id = _both_ways(classes)
        if self.encoder is not None:
            self.encoder.id2label, self.encoder.label2id = _both_ways(labels)

    def to_dict(self) -> dict[str, Any]:
        """See ``PreTrainedConfig``."""
        values: dict[str, Any] = super().to_dict()
        for name in ("span_filter", "pair_filter"):
            if getattr(self, name) is not None:
                values[name] = getattr(self, name).to_dict()
        if self.word_rules is not None:
            values["word_rules"] = dict(self.word_rules.breaks)
        if self.trained_on is not None:
            values["trained_on"] = self.trained_on.to_dict()
        values["word_splitter"] = splitter_name(self.word_splitter)
        return values

    require = ModelSettings.limit

    def check_limits(self) -> None:
        """Check all settings, see `ModelSettings.check_limits`."""
        check_limit("marker_max_length", self.marker_max_length, at_least=1, at_most=LARGEST_LIMIT)
        super().check_limits()
        parts = {} if self.compression is None else self.compression
        if not isinstance(parts, dict) or not all(map(_is_line, [*parts, *parts.values()])):
            raise ValueError(f"compression={self.compression!r} must be None, or a dict of strings without line ends")

    @property
    def unknown_to_1x(self) -> list[str]:
        """The settings of the model that the 1.x library does not support. It cannot load models that have any."""
        names = ("token_state_size", "letter_case", "multi_label", "relation_labels")
        return [f"{name}={getattr(self, name)!r}" for name in names if getattr(self, name)]

    @property
    def tags(self) -> list[str]:
        """The tags in the order of their IDs: ``["O", "B-PER", "I-PER"]``."""
        return [label for _, label in sorted(self.encoder.id2label.items())]

    @property
    def scheme(self) -> str | None:
        """Scheme of the tags, a key of `span_marker.core.labels.SCHEMES`; None without a scheme."""
        return detect_scheme(self.tags)

    @property
    def given_labels(self) -> list[str]:
        """Old name of `tags`."""
        return self.tags

    @property
    def reduced_labels(self) -> list[str]:
        """Old name of `classes`."""
        return self.classes

    def check_labels(self) -> None:
        """Check the labels before a model is built.

        Raises:
            ValueError: If tags or classes are missing or invalid, or do not match.
        """
        check_labels(self.classes)
        reduced, _ = reduce_labels(self.tags)
        if set(reduced) != set(self.classes):
            raise ValueError(
                f"the classes {self.classes} (id2label) do not match the tags {self.tags} (encoder.id2label), whose "
                f"classes are {reduced}"
            )


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _both_ways(labels: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    """Map IDs to labels, and labels to IDs."""
    return dict(enumerate(labels)), {label: index for index, label in enumerate(labels)}


def _encoder_config(encoder: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig | None:
    """Build an encoder's configuration from the classes of ``transformers`` itself; custom code is never run."""
    if encoder is None or isinstance(encoder, PreTrainedConfig):
        return encoder
    if not isinstance(encoder, dict):
        raise TypeError(f"config.encoder={encoder!r} must be a configuration or a dict, not {type(encoder).__name__}")
    if encoder.get(HAS_CODE):
        raise ValueError(
            f"the encoder of type {encoder.get('model_type')!r} needs custom code: if you trust it, pass "
            "trust_remote_code=True"
        )
    values = {
        key: value for key, value in encoder.items() if key not in ("auto_map", "trust_remote_code", *FOREIGN_SETTINGS)
    }
    model_type = values.pop("model_type", None)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(f"config.encoder has model_type={model_type!r}, which transformers does not support")
    config: PreTrainedConfig = CONFIG_MAPPING[model_type].from_dict(values)
    return config


AutoConfig.register(SpanMarkerConfig.model_type, SpanMarkerConfig)
