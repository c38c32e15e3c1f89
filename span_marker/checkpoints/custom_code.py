"""Encoders with custom code: loaded if the caller trusts it, and saved with the checkpoint."""

from __future__ import annotations

import os
from typing import Any

from transformers import AutoModel, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save, get_class_from_dynamic_module

from span_marker.checkpoints.errors import StrPath
from span_marker.configuration import HAS_CODE, SpanMarkerConfig


def load_config_with_code(path: StrPath, values: dict[str, Any], hub_arguments: dict[str, Any]) -> SpanMarkerConfig:
    """Load the configuration of a checkpoint whose encoder has custom code that the caller trusts.

    Args:
        path: A folder or the name of a repository.
        values: The contents of ``config.json``.
        hub_arguments: Arguments of ``from_pretrained`` that locate files on the Hub.

    Returns:
        The configuration, including the encoder's.
    """
    classes = values["encoder"]["auto_map"]
    config_class: Any
    config_class, encoder_class = (  # private: how transformers imports the code of a checkpoint
        get_class_from_dynamic_module(classes[name], path, **hub_arguments) for name in ("AutoConfig", "AutoModel")
    )
    encoder = config_class.from_dict(values["encoder"])
    AutoModel.register(config_class, encoder_class, exist_ok=True)
    config: SpanMarkerConfig = SpanMarkerConfig.from_dict({**values, "encoder": encoder})
    return config


def save_code(encoder: PreTrainedModel, directory: StrPath) -> None:
    """Save the custom code of an encoder, and record it in the encoder's configuration.

    Args:
        encoder: The encoder.
        directory: The folder to write to.
    """
    config: Any = encoder.config
    config.auto_map = {}  # the old one belongs to the encoder's repository, or to code that is not used
    for custom, auto_name in ((config, "AutoConfig"), (encoder, "AutoModel")):
        if type(custom).__module__.startswith("transformers_modules."):  # private: where the code is imported to
            os.makedirs(directory, exist_ok=True)
            type(custom).register_for_auto_class(auto_name)
            custom_object_save(custom, directory, config=config)
    if config.auto_map:
        setattr(config, HAS_CODE, True)
    else:
        del config.auto_map
