"""Numbers in JSON that would change on being read: integers of over 64 bits, decimals with more digits than a double.

orjson reads both into the nearest double, without a word.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

MIN_INTEGER, MAX_INTEGER = -(1 << 63), (1 << 64) - 1
"""The integers that orjson keeps."""
MAX_EXACT_DOUBLE = 1 << 53
"""Up to here every whole number is a double, so that no two of them become the same."""

# A double keeps any 15 digits (C11, 5.2.4.2.2, DBL_DIG). What may have more, or a huge exponent, is looked at closely.
_SHAPE = bytes.maketrans(b"123456789.E+", b"0000000000e-")
_MANY_DIGITS = b"0" * 16
_QUOTED_DIGITS = 40


@dataclass(frozen=True, slots=True)
class InexactNumber:
    """A number that would not be kept."""

    path: str  # such as metadata.order
    digits: str

    def __str__(self) -> str:
        digits = self.digits if len(self.digits) <= _QUOTED_DIGITS else self.digits[: _QUOTED_DIGITS - 1] + "…"
        return f'is {digits}, a number with more digits than are kept; write it as text: "{digits}"'


class _Digits(str):
    """Marks the digits of an inexact number among the texts of a parsed value."""


def inexact_number(data: str | bytes) -> InexactNumber | None:
    """The first number in a JSON text that would not be kept as it is written; None if all are, or if it is no JSON."""
    shape = (data if isinstance(data, bytes) else data.encode("utf-8", "replace")).translate(_SHAPE)
    has_exponent = b"0e" in shape and (b"0e000" in shape or b"0e-000" in shape)
    if not has_exponent and _MANY_DIGITS not in shape:  # ten times as fast as a regular expression
        return None
    try:
        value = json.loads(data, parse_int=_integer, parse_float=_decimal)
    except (ValueError, RecursionError):
        return None
    return next((InexactNumber(path, item) for path, item in _walk(value) if isinstance(item, _Digits)), None)


def _integer(digits: str) -> object:
    # Python spells out and reads no number of over 4,300 digits.
    return 0 if len(digits) <= 20 and MIN_INTEGER <= int(digits) <= MAX_INTEGER else _Digits(digits)


def _decimal(digits: str) -> object:
    try:
        # The shortest spelling of a double, and the one of 17 digits that C's %.17g writes.
        spellings = (repr(float(digits)), format(float(digits), ".17g"))
        return 0 if Decimal(digits) in map(Decimal, spellings) else _Digits(digits)
    except InvalidOperation:  # an exponent of more digits than Decimal has
        return _Digits(digits)


def _walk(value: object) -> list[tuple[str, object]]:
    """Every value inside `value` that holds no others, with its path."""
    found: list[tuple[str, object]] = []
    pending: list[tuple[str, object]] = [("", value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, dict):
            pending += [(f"{path}.{name}" if path else name, inner) for name, inner in item.items()]
        elif isinstance(item, list):
            pending += [(path, inner) for inner in item]
        else:
            found.append((path, item))
    return found
