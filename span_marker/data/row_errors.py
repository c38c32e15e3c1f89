"""Errors of rows: raised together, skipped with a warning, or passed to the caller."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

logger = logging.getLogger(__name__)

RowError: TypeAlias = TypeError | ValueError
OnError: TypeAlias = Literal["raise", "skip"] | list[RowError]

SHOWN = 20
"""Maximum number of errors in a message."""


def check_on_error(errors: Any) -> None:
    """Check that a value is a valid way to handle invalid rows.

    Args:
        errors: The value.

    Raises:
        ValueError: If it does not.
    """
    if not isinstance(errors, list) and errors not in ("raise", "skip"):
        raise ValueError(f"errors={errors!r} must be 'raise', 'skip', or a list to add the errors to")


def report_errors(found: Sequence[RowError], num_rows: int, errors: OnError, subject: str) -> None:
    """Raise the errors of rows, or do what the caller wants instead.

    Args:
        found: The errors, each of which names its row.
        num_rows: How many rows have them.
        errors: ``raise`` for one error with all of them, of the type of the first; ``skip`` for a warning that counts
            these rows and has the first error; or a list to add them to.
        subject: What to call the file.

    Raises:
        TypeError: If they are raised, and the first is a `TypeError`.
        ValueError: If they are raised, and the first is a `ValueError`.
    """
    if isinstance(errors, list):
        errors += found
    elif found and errors == "skip":
        row_is, it_is = ("row is", "it is") if num_rows == 1 else ("rows are", "they are")
        logger.warning("%s: %d %s skipped, since %s wrong; the first: %s", subject, num_rows, row_is, it_is, found[0])
    elif len(found) == 1:
        raise found[0]
    elif found:
        error_type = TypeError if isinstance(found[0], TypeError) else ValueError
        lines = [f"{subject} has {len(found)} errors:", *map(str, found[:SHOWN])]
        if len(found) > SHOWN:
            lines.append(f"... and {len(found) - SHOWN} more")
        raise error_type("\n  ".join(lines)) from found[0]
