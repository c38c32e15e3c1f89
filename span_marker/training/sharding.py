"""Training with weights that are sharded over processes: FSDP2, through the configuration of accelerate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from span_marker.modeling import SpanMarkerModel


def check_sharding(plugin: Any, model: SpanMarkerModel) -> None:
    """Check that FSDP can shard a model with its settings.

    Markers attend to keys and values of the text that layers have stored. The gradient of a layer's weights can
    therefore bypass the output of the layer, where FSDP2 would gather the weights again. It must shard the model as a
    whole: weights are gathered for the forward and the backward pass, while gradients and optimizer stay sharded.

    Args:
        plugin: Accelerate's `FullyShardedDataParallelPlugin`; None without FSDP.
        model: The model.

    Raises:
        ValueError: If FSDP is set to wrap layers or to version 1, or two parameters of the model are the same tensor.
    """
    if plugin is None:
        return
    if plugin.fsdp_version != 2:
        raise ValueError(
            f"fsdp_version={plugin.fsdp_version} must be 2: set it in accelerate's configuration, or pass "
            "fsdp_config={'version': 2, 'auto_wrap_policy': 'NO_WRAP'} to TrainingArguments"
        )
    if plugin.auto_wrap_policy is not None:
        policy = getattr(plugin.auto_wrap_policy, "func", plugin.auto_wrap_policy)
        raise ValueError(
            f"fsdp_auto_wrap_policy={getattr(policy, '__name__', policy)} must be NO_WRAP: markers use keys and "
            "values from inside the layers, whose weights FSDP2 would no longer have in the backward pass"
        )
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        other = names.setdefault(id(parameter), name)
        if other != name:
            raise ValueError(
                f"FSDP2 cannot shard {type(model.encoder).__name__}, in which {other} and {name} are the same tensor: "
                "train it without FSDP, where every process holds all weights"
            )


@contextmanager
def whole_weights(model: SpanMarkerModel) -> Iterator[None]:
    """Gather the weights of a sharded model within a ``with`` block. All processes must enter it.

    Args:
        model: The model.
    """
    from torch.distributed.fsdp import FSDPModule

    sharded: list[Any] = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.reshard()
