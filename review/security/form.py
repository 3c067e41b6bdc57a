"""Form fields by name; the guard has already checked the CSRF token."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from contract.errors import UsageError

MOST_FIELDS = 1000
"""The bulk table has a hundred checkboxes."""
LONGEST_QUERY = 8 * 2**10
"""Characters of the view in a form."""


class Form:
    """The fields of one request."""

    def __init__(self, body: bytes) -> None:
        """Raises:
        UsageError: it has too many fields.
        """
        self._fields = fields(body.decode("utf-8", "replace"))

    def one(self, name: str, default: str = "") -> str:
        """A field's value, with line endings as in texts."""
        return next((value.replace("\r\n", "\n") for key, value in self._fields if key == name), default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._fields if key == name]

    def number(self, name: str) -> int | None:
        """A field as a whole number; None where it is empty.

        Raises:
            UsageError: naming the field.
        """
        value = self.one(name).strip()
        return whole_number(value, name) if value else None


def fields(encoded: str) -> list[tuple[str, str]]:
    """The fields of a form or a query, in order. Lone surrogates and U+0000 become U+FFFD.

    Raises:
        UsageError: there are too many; none was parsed.
    """
    if encoded.count("&") >= MOST_FIELDS:
        raise UsageError(f"a form or an address may have at most {MOST_FIELDS:,} fields")
    return parse_qsl(encoded.replace("%00", "%EF%BF%BD").replace("\0", "\ufffd"), keep_blank_values=True)


def whole_number(value: str, name: str) -> int:
    """A whole number from 0 up that a database can hold.

    Raises:
        UsageError: naming the field.
    """
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise UsageError(f"{name}: {value[:40]!r} is not a whole number")
    return int(value)


def current_form(request: Request) -> Form:
    form: Form = request.state.form
    return form


CurrentForm = Annotated[Form, Depends(current_form)]
