"""Validators for entities: IBANs, card numbers and e-mail addresses. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable

_SEPARATORS = re.compile(r"[\s-]+")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_CARD = re.compile(r"[0-9]{12,19}")
_EMAIL = re.compile(
    r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@"
    r"(?:[^\W_](?:(?:[^\W_]|-){0,61}[^\W_])?\.)+(?:[^\W\d_]{2,63}|xn--[a-z0-9-]{1,59})",
    re.IGNORECASE,
)
_LONGEST_EMAIL = 254


def is_iban(text: str) -> bool:
    """Tell whether a text is an IBAN: its form, and its checksum (ISO 13616, ISO 7064 MOD 97-10).

    Args:
        text: The text; white space, hyphens and case are ignored.

    Returns:
        Whether it can be one. The length is not checked against its country.

    Example:
        >>> is_iban("DE89 3704 0044 0532 0130 00"), is_iban("DE89 3704 0044 0532 0130 01")
        (True, False)
    """
    iban = _SEPARATORS.sub("", text).upper()
    if _IBAN.fullmatch(iban) is None:
        return False
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def is_card_number(text: str) -> bool:
    """Tell whether a text is a payment card number: 12 to 19 digits with a Luhn checksum (ISO/IEC 7812-1).

    Args:
        text: The text; white space and hyphens are ignored.

    Returns:
        Whether it can be one.

    Example:
        >>> is_card_number("4111 1111 1111 1111"), is_card_number("4111 1111 1111 1112")
        (True, False)
    """
    number = _SEPARATORS.sub("", text)
    if _CARD.fullmatch(number) is None:
        return False
    doubled = (2 * int(digit) for digit in number[-2::-2])
    return (sum(map(int, number[-1::-2])) + sum(value - 9 * (value > 9) for value in doubled)) % 10 == 0


def is_email(text: str) -> bool:
    """Tell whether a text is an e-mail address as people write them: no quotes, comments or IP addresses.

    Args:
        text: The text.

    Returns:
        Whether it has the form of one.

    Example:
        >>> is_email("amelia.earhart@example.org"), is_email("amelia@example")
        (True, False)
    """
    return len(text) <= _LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


VALIDATORS: dict[str, Callable[[str], bool]] = {"iban": is_iban, "card": is_card_number, "email": is_email}
"""All validators by name."""
