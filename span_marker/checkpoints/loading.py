"""Load configurations, tokenizers and encoders from disk or the Hub, and check that they fit together."""

from __future__ import annotations

import inspect
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME
from transformers.utils import logging as transformers_logging
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from span_marker.checkpoints.custom_code import load_config_with_code
from span_marker.checkpoints.errors import BROKEN_WEIGHTS, StrPath, naming_broken_files
from span_marker.checkpoints.label_lists import read_relation_labels
from span_marker.checkpoints.quantization import FASTEST
from span_marker.configuration import AUTO, HAS_CODE, SpanMarkerConfig
from span_marker.core.relations import relation_classes
from span_marker.core.word_splitters import check_given, import_splitter
from span_marker.encoders.support import auto_class, check_encoder, max_positions, model_arguments
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer

logger = logging.getLogger(__name__)

VOCABULARY_MULTIPLE = 8
"""The vocabulary is padded to a multiple of this after the markers were added, as in the published library."""

CONFIG_ARGUMENTS = (
    "model_max_length",
    "marker_max_length",
    "entity_max_length",
    "max_prev_context",
    "max_next_context",
    "multi_label",
    "letter_case",
    "decoding",
    "candidates_per_word",
    "exact",
    "word_splitter",
    "relation_labels",
    "symmetric_relations",
    "relation_types",
)
"""Arguments of ``from_pretrained`` that belong to the configuration."""

_READERS = {"word_splitter": import_splitter, "relation_labels": read_relation_labels}
"""Functions that convert arguments to settings of the configuration."""

HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
"""Arguments of ``from_pretrained`` for loading the configuration, the weights and the tokenizer."""

ARGUMENTS = (
    *("labels", "config", "engine", "model_card_data", "compatible_with_1x", "device_map", "dtype"),
    *CONFIG_ARGUMENTS,
    *HUB_ARGUMENTS,
)
"""Arguments to suggest when the caller of ``from_pretrained`` misspells one."""

REPORT_WEIGHTS = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""Arguments that make ``transformers`` report missing and misshapen weights, which `check_weights` refuses."""

WEIGHTS_PER_BYTE = 2
"""Maximum number of weights per byte of a file, with 4-bit weights."""


def load_config(path: StrPath, arguments: dict[str, Any]) -> PreTrainedConfig:
    """Load the configuration of an encoder or of a SpanMarker checkpoint.

    Args:
        path: A folder or the name of a repository.
        arguments: Arguments of ``from_pretrained``; only `HUB_ARGUMENTS` are used.

    Returns:
        The configuration.

    Raises:
        FileNotFoundError: If the folder does not exist and the name is not a valid repository name, or if the folder
            has no ``config.json``.
        OSError: If the repository does not exist, cannot be reached, or has no configuration.
        ValueError: If the configuration is broken.
    """
    _check_path(path, arguments)
    with naming_broken_files("the configuration (config.json)", path):
        config = _load_config(path, arguments)
        if isinstance(config, SpanMarkerConfig):
            if config.encoder is None:
                raise ValueError("encoder=None must be the configuration of an encoder")
            config.check_labels()
        for part in (config, getattr(config, "encoder", None) or config):
            if not isinstance(part.dtype, torch.dtype | None):
                raise ValueError(f"dtype={part.dtype!r} must be the name of a number format, such as 'float32'")
            # private: both may name kernels, which are code that would be loaded.
            part._attn_implementation = part._experts_implementation = None
        return config


def _check_path(path: StrPath, arguments: dict[str, Any]) -> None:
    """Refuse a folder without a configuration (naming subfolders that have one) or without read permission."""
    name, folder = str(path), Path(path, arguments.get("subfolder") or "")
    if not name.strip():
        raise FileNotFoundError(f"{name!r} is empty: pass a folder, or the name of a repository")
    if not os.path.exists(path):
        is_local = os.path.isabs(path) or name.startswith((".", "~")) or "\\" in name
        if is_local or name.count("/") > 1:
            reason = ", and a name on the Hub has at most one '/'" if name.count("/") > 1 else ""
            raise FileNotFoundError(f"there is no folder {name!r} to load a model from{reason}")
    elif os.path.isfile(path):
        raise FileNotFoundError(f"{name!r} is a file: a model is a folder, or the name of a repository")
    elif folder.is_dir() and not (folder / CONFIG_NAME).is_file():
        if (folder / ADAPTER_CONFIG_NAME).is_file():
            raise FileNotFoundError(
                f"{name!r} holds a PEFT adapter: load its base model, and then "
                f"PeftModel.from_pretrained(base, {name!r})"
            )
        inside = {file.parent.name for kind in (CONFIG_NAME, ADAPTER_CONFIG_NAME) for file in folder.glob(f"*/{kind}")}
        shortest_first = sorted(inside, key=lambda inner: (len(inner), inner))  # checkpoint-5 before checkpoint-10
        advice = f": pass one of the folders in it, {shortest_first}" if inside else ""
        raise FileNotFoundError(f"there is no {CONFIG_NAME} in {str(folder)!r}{advice}")
    for weights in folder.glob("*.safetensors"):
        weights.open("rb").close()  # safetensors says of a file that it must not open that it does not exist


def _load_config(path: StrPath, arguments: dict[str, Any]) -> PreTrainedConfig:
    of_hub = hub_arguments(arguments)
    trusts_code = bool(arguments.get("trust_remote_code"))
    if trusts_code:
        values, _ = PreTrainedConfig.get_config_dict(path, **of_hub)
        if values.get("model_type") == SpanMarkerConfig.model_type and (values.get("encoder") or {}).get(HAS_CODE):
            return load_config_with_code(path, values, of_hub)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=trusts_code, **of_hub)
    except OSError as error:
        if str(path) in str(error):
            raise
        raise OSError(f"cannot load {str(path)!r}: {error}") from error
    return config


def load_tokenizer(path: StrPath, arguments: dict[str, Any]) -> SpanMarkerTokenizer:
    """Load the tokenizer of an encoder or of a SpanMarker checkpoint.

    Args:
        path: A folder or the name of a repository.
        arguments: Arguments of ``from_pretrained``; only `HUB_ARGUMENTS` are used.

    Returns:
        The tokenizer, with the marker tokens in it.

    Raises:
        ValueError: If the tokenizer's files are missing or broken.
    """
    trusts_code = bool(arguments.get("trust_remote_code"))
    with naming_broken_files("the tokenizer (tokenizer.json, tokenizer_config.json)", path):
        tokenizer = SpanMarkerTokenizer.from_pretrained(path, trust_remote_code=trusts_code, **hub_arguments(arguments))
        if tokenizer.tokenizer.model_max_length <= tokenizer.num_special_tokens:
            raise ValueError(f"model_max_length={tokenizer.tokenizer.model_max_length} leaves no tokens for text")
        return tokenizer


def load_encoder(
    path: StrPath,
    *model_args: Any,
    config: PreTrainedConfig,
    labels: Sequence[str] | None,
    limits: dict[str, Any],
    **kwargs: Any,
) -> tuple[SpanMarkerConfig, PreTrainedModel, SpanMarkerTokenizer]:
    """Load an encoder and add the marker tokens to it.

    Args:
        path: A folder or the name of a repository.
        *model_args: Passed to ``AutoModel.from_pretrained``.
        config: The encoder's configuration.
        labels: The labels of the data set.
        limits: Those `CONFIG_ARGUMENTS` that the caller passed.
        **kwargs: Passed to ``AutoModel.from_pretrained``.

    Returns:
        The configuration of the SpanMarker model, the encoder with embeddings for the markers, and the tokenizer.

    Raises:
        ValueError: If labels are missing, or the encoder or a limit is not supported.
    """
    if labels is None:
        raise ValueError(
            f"{str(path)!r} is an encoder of type {config.model_type!r}, not a SpanMarker checkpoint: to train it, "
            "pass the labels of your data, such as ['O', 'B-PER', 'I-PER'], or the training data itself as labels to "
            "from_pretrained (span-marker train does so)"
        )
    if kwargs.get("dtype") == FASTEST:
        raise ValueError(
            f"dtype={FASTEST!r} chooses a number format for prediction, not for a new model: leave it out for training"
        )
    check_encoder(config)
    span_marker_config = SpanMarkerConfig(encoder=config, labels=labels)  # type: ignore[call-arg]  # goes to __post_init__
    tokenizer = load_tokenizer(path, kwargs)
    _set_limits(span_marker_config, limits, tokenizer)
    kwargs = {"trust_remote_code": False, **kwargs, **model_arguments(config), **REPORT_WEIGHTS}
    with known_arguments(kwargs), _quiet(), naming_broken_files("the weights", path, BROKEN_WEIGHTS):
        encoder, info = auto_class(config).from_pretrained(path, *model_args, config=config, **kwargs)
        check_weights(info, path)
        encoder.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=VOCABULARY_MULTIPLE)
    span_marker_config.encoder = encoder.config
    span_marker_config.vocab_size = encoder.config.vocab_size
    return span_marker_config, encoder, tokenizer


def fit_checkpoint_config(
    config: SpanMarkerConfig,
    tokenizer: SpanMarkerTokenizer,
    limits: dict[str, Any],
    path: StrPath,
) -> None:
    """Check the caller's settings against a checkpoint's configuration, and write them into it.

    Args:
        config: The checkpoint's configuration.
        tokenizer: The checkpoint's tokenizer.
        limits: Those `CONFIG_ARGUMENTS` that the caller passed.
        path: Name of the checkpoint, for errors.

    Raises:
        ValueError: If ``multi_label``, ``letter_case`` or ``relation_labels`` differ from the checkpoint's, a limit is
            too low or too high, or the checkpoint's word splitter is a function and the caller passes none.
    """
    for name in ("multi_label", "letter_case"):
        if limits.get(name, getattr(config, name)) != getattr(config, name):
            raise ValueError(
                f"the checkpoint {str(path)!r} was trained with {name}={getattr(config, name)}, not {limits[name]}: "
                f"leave {name} out, or start from an encoder"
            )
    if "relation_labels" in limits:
        wanted = read_relation_labels(limits["relation_labels"])
        if set(relation_classes(wanted) if wanted is not None else ()) != set(config.relation_labels or ()):
            raise ValueError(
                f"the checkpoint {str(path)!r} has relation_labels={config.relation_labels}, not {wanted}: leave "
                "relation_labels out, and call model.add_relations(...) to give the model other relations, and train "
                "them"
            )
        limits = {**limits, "relation_labels": config.relation_labels}  # the weights have this order
    if "word_splitter" not in limits:
        check_given(config.word_splitter, path)
    _check_vocabulary(config.encoder, tokenizer, path)
    _set_limits(config, limits, tokenizer)
    largest = max_positions(config.encoder)
    limit = config.model_max_length
    if largest is not None and limit not in (None, AUTO) and config.limit("model_max_length") > largest:
        logger.warning(
            "The checkpoint has model_max_length=%d, but its encoder reads at most %d tokens. The limit was lowered.",
            limit,
            largest,
        )
        config.model_max_length = largest


def _check_vocabulary(encoder: PreTrainedConfig, tokenizer: SpanMarkerTokenizer, path: StrPath) -> None:
    """Refuse a ``vocab_size`` below the tokenizer's or beyond the weights', before memory is allocated for it.

    Args:
        encoder: The encoder's configuration.
        tokenizer: The checkpoint's tokenizer.
        path: Name of the checkpoint, for errors.

    Raises:
        ValueError: If the vocabulary is too small or too large.
    """
    largest = max(tokenizer.tokenizer.get_vocab().values())
    if largest >= encoder.vocab_size:
        raise ValueError(
            f"{str(path)!r}: the tokenizer has a token with ID {largest}, but the encoder's vocab_size is "
            f"{encoder.vocab_size} (config.json)"
        )
    weights = [file for pattern in ("*.safetensors", "*.bin") for file in Path(path).glob(pattern)]
    width = min(getattr(encoder, name, encoder.hidden_size) for name in ("embedding_size", "input_embedding_size"))
    most_weights = WEIGHTS_PER_BYTE * sum(file.stat().st_size for file in weights)
    if weights and encoder.vocab_size * width > most_weights:
        raise ValueError(
            f"{str(path)!r} does not fit its configuration: vocab_size={encoder.vocab_size} times {width} is more than "
            "its weight files hold: they are truncated, or config.json is wrong"
        )


def check_weights(info: dict[str, Any], path: StrPath) -> None:
    """Refuse incomplete weights: transformers would replace the missing ones with random ones.

    Args:
        info: The report of ``transformers``, see `REPORT_WEIGHTS`.
        path: Name of the checkpoint, for errors.

    Raises:
        ValueError: If weights are missing or misshapen.
    """
    missing, misshapen = sorted(info["missing_keys"]), sorted(info["mismatched_keys"])
    if misshapen:
        name, shape, expected = misshapen[0]
        raise ValueError(
            f"{str(path)!r} does not fit its configuration: {len(misshapen)} weights have a different shape, for "
            f"example {name!r} with {tuple(shape)} instead of {tuple(expected)}"
        )
    if missing:
        raise ValueError(f"{str(path)!r} is incomplete: {len(missing)} weights are missing, for example {missing[0]!r}")


@contextmanager
def known_arguments(arguments: dict[str, Any]) -> Iterator[None]:
    """Refuse unknown arguments of ``from_pretrained``, and suggest similar ones.

    Args:
        arguments: The caller's arguments.

    Raises:
        TypeError: If one of them is unknown.
    """
    try:
        yield
    except TypeError as error:
        match = re.search(r"unexpected keyword argument '(\w+)'", str(error))  # private: Python's own wording
        if match is None or match[1] not in arguments:
            raise
        name = match[1]
        advice = f": did you mean {close[0]!r}?" if (close := get_close_matches(name, ARGUMENTS, 1)) else ""
        if name in inspect.signature(SpanMarkerConfig).parameters:
            advice = f": set model.config.{name} instead"
        raise TypeError(f"from_pretrained has no argument {name!r}{advice}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ``transformers`` from reporting unused heads and poolers; `check_weights` reports what matters."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def hub_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Select the arguments of ``from_pretrained`` that find files on the Hub."""
    return {name: arguments[name] for name in HUB_ARGUMENTS if name in arguments}


def _set_limits(config: SpanMarkerConfig, limits: dict[str, Any], tokenizer: SpanMarkerTokenizer) -> None:
    """Write the caller's limits into a configuration, and check them against the encoder."""
    for name, value in limits.items():
        setattr(config, name, _READERS[name](value) if name in _READERS else value)
    config.check_limits()
    if config.model_max_length == AUTO:
        return
    limit = config.limit("model_max_length") if config.model_max_length else config.model_max_length_default
    if limit <= tokenizer.num_special_tokens:
        raise ValueError(
            f"model_max_length={limit} leaves no tokens for text besides {tokenizer.num_special_tokens} special tokens"
        )
    requested = limits.get("model_max_length")
    if requested is None:
        return
    largest = max_positions(config.encoder)
    if largest is not None and requested > largest:
        raise ValueError(
            f"model_max_length={requested} is more than the encoder's {largest} positions (tokens): set "
            f"model_max_length to {largest} or less"
        )
    # The tokenizer's own limit is a recommendation; it is saved with the model.
    tokenizer.tokenizer.model_max_length = max(tokenizer.tokenizer.model_max_length, requested)
