"""Another machine, on this one: ``pytest --other-machine SEED`` rounds as some other processor and library may.

A sum of products depends on the order in which it is added up, and a softmax or a norm on how its functions are
approximated: both on the processor, on the number of threads, and on the shapes of the tensors. Here every result of
such an operation is off by up to as much as it may be: ``n`` products with the sum ``s`` of their absolute values by
``n * u * s`` at most, ``u`` being half of the number format's epsilon, and by about ``u * s`` in practice. What is off
by how much is drawn from the seed, the operation and the shapes, so that the same call twice has the same result, as
on a real machine. Dropout draws other entries from the same state of the generator.

A test that fails here but not without the option compares numbers that need not be equal, or trusts in luck.
"""

from __future__ import annotations

import threading
import zlib
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

PRODUCTS = (aten.mm, aten.bmm, aten.addmm, aten.baddbmm)

FUNCTIONS = (
    *(aten._softmax, aten._log_softmax, aten.sigmoid, aten.gelu, aten.native_layer_norm, aten.normal_),
    *(aten._scaled_dot_product_flash_attention_for_cpu, aten._scaled_dot_product_attention_math),
)


class OtherMachine(TorchDispatchMode):
    """What runs inside of it is rounded in another way.

    Args:
        seed: Says in which.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, operation = kwargs or {}, func.overloadpacket
        if torch.is_inference_mode_enabled():  # without autograd, operations made of others come in one piece
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if operation is aten.bernoulli_ and isinstance(args[-1], float):
            return args[0].copy_(torch.rand(args[0].shape, device=args[0].device) < args[-1])
        result = func(*args, **kwargs)
        first, *others = result if isinstance(result, tuple) else (result,)
        if isinstance(first, Tensor) and first.is_floating_point() and first.device.type == "cpu":
            if operation in PRODUCTS:
                left, right = (factor.double().abs() for factor in args[-2:])
                first.add_(self.rounding(operation, first, left.shape) * (left @ right))
            elif operation in FUNCTIONS:
                first.add_(self.rounding(operation, first) * first.double())
        return (first, *others) if isinstance(result, tuple) else result

    def rounding(self, operation: Any, result: Tensor, *shapes: torch.Size) -> Tensor:
        """Relative errors of an operation's results, in double precision."""
        call = f"{self.seed} {operation} {result.shape} {shapes}"
        generator = torch.Generator().manual_seed(zlib.crc32(call.encode()))
        errors = torch.rand(result.shape, generator=generator, dtype=torch.float64) * 2 - 1
        dtype = result.dtype if result.dtype == torch.float64 else torch.float32  # in which short formats are summed up
        return errors * torch.finfo(dtype).eps / 2


def move_to(seed: int) -> None:
    """Let this process, with all threads that it starts from now on, run on another machine."""
    run = threading.Thread.run

    def run_there(self: threading.Thread) -> None:
        with OtherMachine(seed):
            run(self)

    threading.Thread.run = run_there
    OtherMachine(seed).__enter__()
