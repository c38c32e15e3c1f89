"""SpanMarkerConfig: the configuration of a SpanMarker model, explicit, validated, and readable by the 1.x library."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from span_marker.labels import OUTSIDE, check_labels, detect_scheme, reduce_labels
from span_marker.version import __version__

DEFAULT_MODEL_MAX_LENGTH = 512
DEFAULT_MARKER_MAX_LENGTH = 128
DEFAULT_ENTITY_MAX_LENGTH = 8

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
        entity_max_length: Words of the longest entity.
        max_prev_context: Sentences of document context in front; None for as many as fit.
        max_next_context: Sentences of document context behind; None for as many as fit.
        trained_with_document_context: Whether the model was trained with document context.
        model_max_length_default: The text limit if ``model_max_length`` is None.
        id2reduced_id: Class of a span for each given label ID; made from ``labels``, for the 1.x library to read.
        span_marker_version: Version of the library that made the model.
        **kwargs: Arguments of ``PreTrainedConfig``, ``id2label`` and ``label2id`` among them.

    Raises:
        ValueError: If a limit is below 1, or a label list has no ``O``, repeats a label, or has nothing else.
    """

    model_type = "span-marker"
    sub_configs: ClassVar[dict[str, Any]] = {"encoder": AutoConfig}

    def __init__(
        self,
        encoder: PreTrainedConfig | dict[str, Any] | None = None,
        labels: Sequence[str] | None = None,
        model_max_length: int | None = None,
        marker_max_length: int = DEFAULT_MARKER_MAX_LENGTH,
        entity_max_length: int = DEFAULT_ENTITY_MAX_LENGTH,
        max_prev_context: int | None = None,
        max_next_context: int | None = None,
        trained_with_document_context: bool = False,
        model_max_length_default: int = DEFAULT_MODEL_MAX_LENGTH,
        id2reduced_id: dict[int, int] | None = None,
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
        self.span_marker_version = span_marker_version
        if labels is not None:
            reduced, id2reduced_id = reduce_labels(labels)
            kwargs["id2label"] = dict(enumerate(reduced))
            kwargs["label2id"] = {label: index for index, label in enumerate(reduced)}
            if self.encoder is not None:
                self.encoder.id2label = dict(enumerate(labels))
                self.encoder.label2id = {label: index for index, label in enumerate(labels)}
        self.id2reduced_id = {int(given): int(reduced) for given, reduced in (id2reduced_id or {}).items()}
        super().__init__(**kwargs)
        self.check_limits()

    def check_limits(self) -> None:
        """Check the limits.

        Raises:
            ValueError: If a limit is not a whole number, or below what makes sense.
        """
        for name in ("model_max_length", "marker_max_length", "entity_max_length"):
            check_limit(name, getattr(self, name), at_least=1, optional=name == "model_max_length")
        for name in ("max_prev_context", "max_next_context"):
            check_limit(name, getattr(self, name), at_least=0, optional=True)

    @property
    def given_labels(self) -> list[str]:
        """The labels as given, in the order of the integer tags: ``["O", "B-PER", "I-PER"]``."""
        return [label for _, label in sorted(self.encoder.id2label.items())]

    @property
    def scheme(self) -> str | None:
        """Scheme of the given labels, a key of `span_marker.labels.SCHEMES`."""
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
    if not isinstance(encoder, dict):
        return encoder
    if encoder.get(HAS_CODE):
        raise ValueError(
            f"the encoder, of type {encoder.get('model_type')!r}, comes with code of its own: if you trust it, pass "
            "trust_remote_code=True"
        )
    values = {key: value for key, value in encoder.items() if key not in ("auto_map", "trust_remote_code")}
    model_type = values.pop("model_type", None)
    if model_type not in CONFIG_MAPPING:
        raise ValueError(f"config.encoder has model_type={model_type!r}, which transformers does not know")
    config: PreTrainedConfig = CONFIG_MAPPING[model_type].from_dict(values)
    return config


def check_limit(name: str, value: Any, at_least: int, optional: bool = False) -> None:
    """Check a limit.

    Args:
        name: What to call it.
        value: Its value.
        at_least: The least it may be.
        optional: Whether it may be None.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is too low.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} must be a whole number{' or None' if optional else ''}")
    if int(value) < at_least:
        raise ValueError(f"{name}={value} must be at least {at_least}")
