"""Errors about broken files, which name the files whatever the underlying library reports."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import OutOfMemoryError

StrPath = str | os.PathLike[str]

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
"""Errors that ``transformers`` raises for broken files of settings."""

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
"""Errors that ``transformers`` raises for broken files of weights."""


@contextmanager
def naming_broken_files(
    contents: str, path: StrPath, broken: tuple[type[Exception], ...] = BROKEN_SETTINGS
) -> Iterator[None]:
    """Turn errors about the contents of files into errors that name the files.

    Args:
        contents: What is being read, with the names of its files.
        path: A folder or the name of a repository.
        broken: Types of errors that indicate broken contents.

    Raises:
        ValueError: In place of such an error.
    """
    try:
        yield
    except BaseException as error:
        # Libraries written in Rust raise Exception itself.
        is_broken = isinstance(error, broken) or type(error) is Exception
        if not is_broken or isinstance(error, OutOfMemoryError):
            raise
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        if isinstance(error, pickle.UnpicklingError):  # torch advises to run the code in the file
            reason = "pytorch_model*.bin is broken, or holds more than tensors: not loaded"
        raise ValueError(f"cannot read {contents} of {str(path)!r}: {reason}") from error
