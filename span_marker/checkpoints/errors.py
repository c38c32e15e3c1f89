"""Errors of broken files: whatever the libraries below raise about contents comes with the name of what was read."""

from __future__ import annotations

import json
import os
import pickle
from types import TracebackType

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import OutOfMemoryError

Path = str | os.PathLike[str]

BROKEN_SETTINGS = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""How ``transformers`` fails on files with settings that are broken."""

BROKEN_WEIGHTS = (
    EOFError,
    KeyError,
    RecursionError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    json.JSONDecodeError,
    pickle.UnpicklingError,
)
"""How ``transformers`` fails on files with weights that are broken."""


class Reading:
    """Names what was read in errors that the libraries below raise about its contents.

    Args:
        what: What is read, with the names of its files.
        path: A folder or the name of a repository.
        broken: The kinds of errors that say that the contents are broken.

    Raises:
        ValueError: In place of such an error.
    """

    def __init__(self, what: str, path: Path, broken: tuple[type[Exception], ...] = BROKEN_SETTINGS) -> None:
        self.what, self.path, self.broken = what, path, broken

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is written in Rust raises Exception itself.
        if (isinstance(error, self.broken) or type(error) is Exception) and not isinstance(error, OutOfMemoryError):
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            if isinstance(error, pickle.UnpicklingError):  # torch advises to run what is in it
                reason = "pytorch_model*.bin is broken, or holds more than tensors: not loaded"
            raise ValueError(f"can't read {self.what} of {str(self.path)!r}: {reason}") from error
