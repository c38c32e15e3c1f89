"""SpanMarkerConfig: the configuration of a SpanMarker model, explicit, validated, and readable by the 1.x library."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

AUTO = "auto"
"""Stands for a limit that is to be set from the training data."""

LARGEST_LIMIT = 2**31 - 1
"""The largest number that any limit may be."""

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
        span_filter: What the candidate filter is made for: ``input_size``, the size of a text state; and once it is
            fitted ``threshold``, the least score of a candidate that is kept, ``entity_max_length``, ``recall``, the
            share of the entities that it must keep, and ``candidates_kept``, the share of the candidates that it keeps.
            None for a model without a filter.
        exact: Whether prediction gives markers to all candidates, filter or not.
        span_marker_version: Version of the library that made the model.
        **kwargs: Arguments of ``PreTrainedConfig``, ``id2label`` and ``label2id`` among them.

    Raises:
        ValueError: If a limit is below 1, the decoding is unknown, a threshold is no probability, or a label list has
            no ``O``, repeats a label, or has nothing else.
    """

    model_type = "span-marker"
    sub_configs: ClassVar[dict[str, Any]] = {"encoder": AutoConfig}

    def __init__(
        self,
        encoder: PreTrainedConfig | dict[str, Any] | None = None,
        labels: Sequence[str] | None = None,
        model_max_length: int | Literal["auto"] | None = None,
        marker_max_length: int = DEFAULT_MARKER_MAX_LENGTH,
        entity_max_length: int | Literal["auto"] = DEFAULT_ENTITY_MAX_LENGTH,
        max_prev_context: int | None = None,
        max_next_context: int | None = None,
        trained_with_document_context: bool = False,
        model_max_length_default: int = DEFAULT_MODEL_MAX_LENGTH,
        id2reduced_id: dict[int, int] | None = None,
        multi_label: bool = False,
        decoding: Decoding | None = None,
        calibration_temperature: float = 1.0,
        thresholds: dict[str, float] | None = None,
        candidates_per_word: float | None = None,
        span_filter: dict[str, Any] | None = None,
        exact: bool = False,
        span_marker_version: str = __version__,
        **kwargs: Any,
    ) -> None:
        self.encoder: Any = _encoder_config(encoder)  # None in an empty configuration alone
        self.model_max_length = model_max_length
        self.model_max_length_default = model_max_length_default
        self.marker_max_length = marker_max_length
        self.entity_max_length = entity_max_length
        self.max_prev_context = max_prev_context
        self.max_next_context = max_next_context
        self.trained_with_document_context = trained_with_document_context
        self.multi_label = multi_label
        self.decoding = decoding
        self.calibration_temperature = calibration_temperature
        self.thresholds = thresholds
        self.candidates_per_word = candidates_per_word
        self.span_filter = span_filter
        self.exact = exact
        self.span_marker_version = span_marker_version
        if labels is not None:
            reduced, id2reduced_id = reduce_labels(labels)
            kwargs["id2label"] = dict(enumerate(reduced))
            kwargs["label2id"] = {label: index for index, label in enumerate(reduced)}
            if self.encoder is not None:
                self.encoder.id2label = dict(enumerate(labels))
                self.encoder.label2id = {label: index for index, label in enumerate(labels)}
        for name in FOREIGN_SETTINGS:
            kwargs.pop(name, None)
        self.id2reduced_id = {int(given): int(reduced) for given, reduced in (id2reduced_id or {}).items()}
        super().__init__(**kwargs)
        self.check_limits()

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
        self.check_span_filter()
        if not self.exact:
            self.check_filter_length()
        if self.decoding is not None:
            check_decoding(self.decoding)
        temperature = self.calibration_temperature
        if isinstance(temperature, bool) or not isinstance(temperature, Real) or not 0 < float(temperature) < math.inf:
            raise ValueError(f"calibration_temperature={temperature!r} must be a positive number")

    def check_span_filter(self) -> None:
        """Check that the candidate filter is one.

        Raises:
            TypeError: If a number of ``span_filter`` is none.
            ValueError: If it is no dict, or an entry is missing or out of range.
        """
        if self.span_filter is None:
            return
        if not isinstance(self.span_filter, dict) or "input_size" not in self.span_filter:
            raise ValueError(f"span_filter={self.span_filter!r} must be None or a dict with 'input_size'")
        size = self.span_filter["input_size"]
        check_limit("span_filter['input_size']", size, at_least=1)
        if self.encoder is not None and size != self.encoder.hidden_size:
            raise ValueError(
                f"span_filter['input_size']={size} must be the encoder's hidden_size={self.encoder.hidden_size}"
            )
        threshold = self.span_filter.get("threshold")
        if threshold is None:
            return
        if isinstance(threshold, bool) or not isinstance(threshold, Real):
            raise TypeError(f"span_filter['threshold']={threshold!r} must be a number")
        if not math.isfinite(float(threshold)):
            raise ValueError(f"span_filter['threshold']={threshold!r} must be finite")
        check_probability("span_filter['candidates_kept']", self.span_filter.get("candidates_kept"))

    def check_filter_length(self) -> None:
        """Check that the candidate filter's threshold was chosen for candidates like the model's.

        Raises:
            ValueError: If the longest candidate was another one.
        """
        if self.span_filter is None or "threshold" not in self.span_filter:
            return
        fitted_to = self.span_filter.get("entity_max_length")
        if fitted_to != self.entity_max_length:
            raise ValueError(
                f"the candidate filter was fitted to candidates of entity_max_length={fitted_to} words, but those of "
                f"the model have entity_max_length={self.entity_max_length}: load it with exact=True, and call "
                "fit_span_filter or, if the model was trained with its filter, tune_span_filter"
            )

    def require(self, limit: str) -> int:
        """Get a limit that must be a number by now.

        Args:
            limit: Its name.

        Returns:
            The limit.

        Raises:
            ValueError: If it is still ``"auto"``.
        """
        value = getattr(self, limit)
        if value == AUTO:
            raise ValueError(
                f"{limit}='auto' is set by Trainer from the training data: train the model first, or give a number"
            )
        return int(value)

    def decoder(
        self,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        keeps_all_scores: bool = False,
    ) -> Decoder:
        """Say how class scores become entities.

        Args:
            threshold: The least probability of an entity, or that of each label; by default ``thresholds``.
            decoding: How to resolve overlaps; by default ``decoding``.
            keeps_all_scores: Whether the probabilities of all classes are wanted.

        Returns:
            The settings in one.

        Raises:
            TypeError: If a threshold is not a number.
            ValueError: If a threshold is no probability, labels are unknown or missing, or there is no such decoding.
        """
        threshold = self.thresholds if threshold is None else threshold
        fallback: Decoding = "nested" if self.multi_label else "flat"
        labels = self.reduced_labels
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
    def given_labels(self) -> list[str]:
        """The labels as given, in the order of the integer tags: ``["O", "B-PER", "I-PER"]``."""
        return [label for _, label in sorted(self.encoder.id2label.items())]

    @property
    def scheme(self) -> str | None:
        """Scheme of the given labels, a key of `span_marker.core.labels.SCHEMES`."""
        return detect_scheme(self.given_labels)

    @property
    def reduced_labels(self) -> list[str]:
        """The classes of a span in the order of their IDs: ``["O", "PER"]``."""
        return [str(label) for _, label in sorted((self.id2label or {}).items())]

    @property
    def outside_id(self) -> int:
        """Class ID of ``O``."""
        return self.reduced_labels.index(OUTSIDE)

    def check_labels(self) -> None:
        """Check the labels of a configuration that a model is to be built from.

        Raises:
            ValueError: If the given or the reduced labels are missing or broken, or do not belong together.
        """
        check_labels(self.reduced_labels)
        reduced, _ = reduce_labels(self.given_labels)
        if set(reduced) != set(self.reduced_labels):
            raise ValueError(
                f"the classes {self.reduced_labels} (id2label) are not those of the given labels {self.given_labels} "
                f"(encoder.id2label), which are {reduced}"
            )


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
