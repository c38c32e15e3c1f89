"""SpanMarkerConfig: the configuration of a SpanMarker model, explicit, validated, and readable by the 1.x library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from span_marker.core.checks import check_limit, check_probability
from span_marker.core.decoding import Decoder, Decoding, check_decoding
from span_marker.core.labels import OUTSIDE, check_labels, detect_scheme, reduce_labels
from span_marker.version import __version__

DEFAULT_MODEL_MAX_LENGTH = 512
DEFAULT_MARKER_MAX_LENGTH = 128
DEFAULT_ENTITY_MAX_LENGTH = 8

NO_THRESHOLDS: Any = object()
"""Stands for no thresholds at all, where None stands for those of the configuration."""

AUTO = "auto"
"""Stands for a limit that is to be set from the training data."""

LARGEST_LIMIT = 2**31 - 1
"""The largest number that any limit may be."""

LARGEST_STATE = 10**5
"""The largest size of a text state: larger than any encoder's, small enough to build a filter in a moment."""

FOREIGN_SETTINGS = (
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "num_labels",
)
"""Entries of a configuration that are not read: span markers bring their own attention, and labels are counted.

The first ones may name a repository with kernels, which is code that ``transformers`` would load."""

HAS_CODE = "has_code"
"""Key of the configuration of an encoder whose code is among the files of the checkpoint."""


@dataclass(frozen=True)
class SpanFilterConfig:
    """Settings of a candidate filter.

    Args:
        input_size: Size of the text states that the filter reads.
        threshold: The least score of a candidate that gets markers; None for a filter that is not tuned yet.
        entity_max_length: The longest candidate, in words, that the threshold was chosen for.
        recall: The share of the entities that the threshold must keep.
        candidates_kept: The share of the candidates that the threshold keeps.

    Raises:
        TypeError: If an entry is not a number.
        ValueError: If an entry is out of range.
    """

    input_size: int
    threshold: float | None = None
    entity_max_length: int | None = None
    recall: float | None = None
    candidates_kept: float | None = None

    def __post_init__(self) -> None:
        check_limit("span_filter.input_size", self.input_size, at_least=1, at_most=LARGEST_STATE)
        if self.threshold is None:
            return
        if isinstance(self.threshold, bool) or not isinstance(self.threshold, Real):
            raise TypeError(f"span_filter.threshold={self.threshold!r} must be a number")
        if not math.isfinite(float(self.threshold)):
            raise ValueError(f"span_filter.threshold={self.threshold!r} must be finite")
        check_probability("span_filter.candidates_kept", self.candidates_kept)

    @classmethod
    def from_dict(cls, values: Any) -> SpanFilterConfig:
        """Read the settings from what `to_dict` returned.

        Args:
            values: The dict.

        Returns:
            The settings.

        Raises:
            TypeError: If an entry is not a number.
            ValueError: If it is not a dict, lacks ``input_size``, or has an unknown or wrong entry.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or "input_size" not in values or not set(values) <= set(names):
            raise ValueError(f"span_filter={values!r} must be None or a dict with 'input_size' and no keys but {names}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that are set, as JSON can hold them."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class SpanMarkerConfig(PreTrainedConfig):
    """Configuration of a SpanMarker model.

    Args:
        encoder: The encoder's configuration, or the dict that it is saved as. Only classes that come with
            ``transformers`` are built from a dict.
        labels: The labels of the data set as given, ``O`` included, such as ``B-PER``. Needed for a new model; a saved
            configuration carries them in ``encoder["id2label"]``.
        model_max_length: Tokens of the longest text, special tokens included. None stands for
            ``model_max_length_default``.
        marker_max_length: Pairs of markers of each sentence that the dense engine, and the 1.x library, run at a time.
            It changes no result; the fast engine bounds its memory by itself.
        entity_max_length: Words of the longest entity. This and ``model_max_length`` may be ``"auto"`` for a new model:
            ``Trainer`` then sets them from the training data, see `span_marker.suggest_limits`.
        max_prev_context: Sentences of document context in front; None for as many as fit.
        max_next_context: Sentences of document context behind; None for as many as fit.
        trained_with_document_context: Whether the model was trained with document context.
        model_max_length_default: The text limit if ``model_max_length`` is None.
        id2reduced_id: Class of a span for each given label ID; made from ``labels``, for the 1.x library to read.
        multi_label: Whether a span may have several labels: each has a probability of its own.
        decoding: How entities that overlap are resolved, see `span_marker.core.decoding`. None stands for ``"flat"``,
            or for ``"nested"`` in a multi-label model; training sets it if the data asks for more.
        calibration_temperature: What class scores are divided by before they become probabilities, see
            `span_marker.calibrate`.
        thresholds: The least probability of each label, see ``SpanMarkerModel.predict``; None for none.
        candidates_per_word: How many candidates get markers in training besides the gold spans, for each word of a
            sentence: the best ones of a candidate filter that is trained beside the markers. From
            ``entity_max_length`` on, all of them do. None trains no filter.
        span_filter: The settings of the candidate filter, a `SpanFilterConfig` or the dict that it is saved as. None
            for a model without a filter.
        exact: Whether prediction gives markers to all candidates, filter or not.
        span_marker_version: Version of the library that made the model.
        **kwargs: Arguments of ``PreTrainedConfig``, ``id2label`` and ``label2id`` among them.

    Raises:
        ValueError: If a limit is below 1, the decoding is unknown, a threshold is no probability, or a label list has
            no ``O``, repeats a label, or has nothing else.
    """

    model_type = "span-marker"
    sub_configs: ClassVar[dict[str, Any]] = {"encoder": AutoConfig}

    encoder: Any = None  # None only in an empty configuration
    model_max_length: int | Literal["auto"] | None = None
    marker_max_length: int = DEFAULT_MARKER_MAX_LENGTH
    entity_max_length: int | Literal["auto"] = DEFAULT_ENTITY_MAX_LENGTH
    max_prev_context: int | None = None
    max_next_context: int | None = None
    trained_with_document_context: bool = False
    model_max_length_default: int = DEFAULT_MODEL_MAX_LENGTH
    id2reduced_id: dict[int, int] | None = None
    multi_label: bool = False
    decoding: Decoding | None = None
    calibration_temperature: float = 1.0
    thresholds: dict[str, float] | None = None
    candidates_per_word: float | None = None
    span_filter: SpanFilterConfig | None = None
    exact: bool = False
    span_marker_version: str = __version__

    def __post_init__(self, labels: Sequence[str] | None = None, **kwargs: Any) -> None:
        """Build the parts that come as dicts, reduce the labels, and check everything."""
        self.encoder = _encoder_config(self.encoder)
        if self.span_filter is not None and not isinstance(self.span_filter, SpanFilterConfig):
            self.span_filter = SpanFilterConfig.from_dict(self.span_filter)
        if labels is not None:
            classes, self.id2reduced_id = reduce_labels(labels)
            self.id2label, self.label2id = _both_ways(classes)
            if self.encoder is not None:
                self.encoder.id2label, self.encoder.label2id = _both_ways(labels)
        self.id2reduced_id = {int(tag): int(reduced) for tag, reduced in (self.id2reduced_id or {}).items()}
        super().__post_init__(**{name: value for name, value in kwargs.items() if name not in FOREIGN_SETTINGS})
        self.check_limits()

    def to_dict(self) -> dict[str, Any]:
        """See ``PreTrainedConfig``."""
        values: dict[str, Any] = super().to_dict()
        if self.span_filter is not None:
            values["span_filter"] = self.span_filter.to_dict()
        return values

    def check_limits(self) -> None:
        """Check the limits.

        Raises:
            TypeError: If a limit is not a whole number.
            ValueError: If it is below or above what makes sense.
        """
        for name in ("marker_max_length", "model_max_length_default"):
            check_limit(name, getattr(self, name), at_least=1, at_most=LARGEST_LIMIT)
        check_limit("entity_max_length", self.entity_max_length, at_least=1, at_most=LARGEST_LIMIT, also=(AUTO,))
        check_limit("model_max_length", self.model_max_length, 1, at_most=LARGEST_LIMIT, also=(None, AUTO))
        for name in ("max_prev_context", "max_next_context"):
            check_limit(name, getattr(self, name), at_least=0, at_most=LARGEST_LIMIT, also=(None,))
        if self.thresholds is not None:
            self.decoder()
        for name in ("multi_label", "exact"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r} must be True or False")
        per_word = self.candidates_per_word
        if per_word is not None and (isinstance(per_word, bool) or not isinstance(per_word, Real)):
            raise TypeError(f"candidates_per_word={per_word!r} must be a number, or None to train no candidate filter")
        if per_word is not None and not 0 < float(per_word) < math.inf:
            raise ValueError(
                f"candidates_per_word={per_word} must be above 0 and finite: entity_max_length gives markers to all "
                "candidates, and None trains no candidate filter"
            )
        if not self.exact:
            self.check_filter_length()
        if self.decoding is not None:
            check_decoding(self.decoding)
        temperature = self.calibration_temperature
        if isinstance(temperature, bool) or not isinstance(temperature, Real) or not 0 < float(temperature) < math.inf:
            raise ValueError(f"calibration_temperature={temperature!r} must be a positive number")

    def check_filter_length(self) -> None:
        """Check that the candidate filter's threshold was chosen for candidates like the model's.

        Raises:
            ValueError: If the longest candidate was another one.
        """
        if self.span_filter is None or self.span_filter.threshold is None:
            return
        fitted_to = self.span_filter.entity_max_length
        if fitted_to != self.entity_max_length:
            raise ValueError(
                f"the candidate filter was fitted to candidates of entity_max_length={fitted_to} words, but those of "
                f"the model have entity_max_length={self.entity_max_length}: load it with exact=True, and call "
                "fit_span_filter or, if the model was trained with its filter, tune_span_filter"
            )

    def limit(self, name: str) -> int:
        """Get a limit that must be a number by now.

        Args:
            name: Its name.

        Returns:
            The limit.

        Raises:
            ValueError: If it is still ``"auto"``.
        """
        value = getattr(self, name)
        if value == AUTO:
            raise ValueError(
                f"{name}='auto' is set by Trainer from the training data: train the model first, or give a number"
            )
        return int(value)

    require = limit

    def decoder(
        self,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        keeps_all_scores: bool = False,
    ) -> Decoder:
        """Say how class scores become entities.

        Args:
            threshold: The least probability of an entity, or that of each label. Defaults to ``thresholds``;
                `NO_THRESHOLDS` for none.
            decoding: How to resolve overlaps; by default ``decoding``.
            keeps_all_scores: Whether the probabilities of all classes are wanted.

        Returns:
            The settings in one.

        Raises:
            TypeError: If a threshold is not a number.
            ValueError: If a threshold is no probability, labels are unknown or missing, or there is no such decoding.
        """
        if threshold is NO_THRESHOLDS:
            threshold = None
        elif threshold is None:
            threshold = self.thresholds
        fallback: Decoding = "nested" if self.multi_label else "flat"
        labels = self.classes
        thresholds: list[float] | None = None
        if isinstance(threshold, dict):
            expected = set(labels) - {OUTSIDE}
            unknown, missing = sorted(set(threshold) - expected), sorted(expected - set(threshold))
            if unknown or missing:
                raise ValueError(
                    f"threshold={threshold} must have each label of the model and no other: unknown labels {unknown}; "
                    f"labels without a threshold {missing}"
                )
            for label, value in threshold.items():
                check_probability(f"threshold[{label!r}]", value)
            thresholds = [threshold.get(label, 1.0) for label in labels]
        elif threshold is not None:
            check_probability("threshold", threshold)
            thresholds = [threshold] * len(labels)
        return Decoder(
            outside_id=self.outside_id,
            multi_label=self.multi_label,
            temperature=self.calibration_temperature,
            thresholds=None if thresholds is None else np.array(thresholds, dtype=np.float32),
            decoding=check_decoding(next(name for name in (decoding, self.decoding, fallback) if name is not None)),
            keeps_all_scores=keeps_all_scores,
        )

    @property
    def tags(self) -> list[str]:
        """The labels as given, in the order of the integer tags: ``["O", "B-PER", "I-PER"]``."""
        return [label for _, label in sorted(self.encoder.id2label.items())]

    @property
    def scheme(self) -> str | None:
        """Scheme of the tags, a key of `span_marker.core.labels.SCHEMES`."""
        return detect_scheme(self.tags)

    @property
    def classes(self) -> list[str]:
        """The classes of a span in the order of their IDs: ``["O", "PER"]``."""
        return [str(label) for _, label in sorted((self.id2label or {}).items())]

    @property
    def given_labels(self) -> list[str]:
        """Old name of `tags`."""
        return self.tags

    @property
    def reduced_labels(self) -> list[str]:
        """Old name of `classes`."""
        return self.classes

    @property
    def outside_id(self) -> int:
        """Class ID of ``O``."""
        return self.classes.index(OUTSIDE)

    def check_labels(self) -> None:
        """Check the labels of a configuration that a model is to be built from.

        Raises:
            ValueError: If the given or the reduced labels are missing or broken, or do not belong together.
        """
        check_labels(self.classes)
        reduced, _ = reduce_labels(self.tags)
        if set(reduced) != set(self.classes):
            raise ValueError(
                f"the classes {self.classes} (id2label) are not those of the given labels {self.tags} "
                f"(encoder.id2label), which are {reduced}"
            )


def _both_ways(labels: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    """Number labels, and find the numbers by the labels."""
    return dict(enumerate(labels)), {label: index for index, label in enumerate(labels)}


def _encoder_config(encoder: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig | None:
    """Build an encoder's configuration from ``transformers``' own classes; custom code in it is never acted on."""
    if encoder is None or isinstance(encoder, PreTrainedConfig):
        return encoder
    if not isinstance(encoder, dict):
        raise TypeError(f"config.encoder={encoder!r} must be a configuration or a dict, not {type(encoder).__name__}")
    if encoder.get(HAS_CODE):
        raise ValueError(
            f"the encoder, of type {encoder.get('model_type')!r}, comes with code of its own: if you trust it, pass "
            "trust_remote_code=True"
        )
    values = {
        key: value for key, value in encoder.items() if key not in ("auto_map", "trust_remote_code", *FOREIGN_SETTINGS)
    }
    model_type = values.pop("model_type", None)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(f"config.encoder has model_type={model_type!r}, which transformers does not know")
    config: PreTrainedConfig = CONFIG_MAPPING[model_type].from_dict(values)
    return config
