"""Log filters that keep texts out of logs: error messages may quote the input of a model."""

from __future__ import annotations

import logging
import traceback


def describe_error(error: BaseException) -> str:
    """Describe an error by its type and its location, without its message.

    Args:
        error: The error.

    Returns:
        Its type, and the lines of code of its traceback, the innermost last.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join([type(error).__name__, *(f"{f.filename}:{f.lineno} in {f.name}" for f in reversed(frames))])


class WithoutMessages(logging.Filter):
    """Removes error messages from a log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Describe the error of a record without its message."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.msg, record.args = f"{record.getMessage().strip()}: {describe_error(error)}", ()
            record.exc_info = record.exc_text = None
        return True


class FirstTime(logging.Filter):
    """Logs each message once, whatever its arguments, since a server would repeat it for every batch."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Accept a record if its message is new."""
        is_new = record.msg not in self._said
        self._said.add(record.msg)
        return is_new
