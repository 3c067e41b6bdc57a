"""What a form or a fetch sent: fields by name, already checked for forgery by the guard."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from contract.errors import UsageError

LONGEST_BODY = 4 * 2**20
"""Bytes: an edited text of the longest kind, each character percent-encoded, and room for more."""


class Form:
    """The fields of one request."""

    def __init__(self, body: bytes) -> None:
        # Unknown bytes become U+FFFD; a lone surrogate could not be stored.
        self._fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")

    def one(self, name: str, default: str = "") -> str:
        """A field's value, its line ends as texts have them."""
        return next((value.replace("\r\n", "\n") for key, value in self._fields if key == name), default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._fields if key == name]

    def number(self, name: str) -> int | None:
        """A field as a whole number; None where it is empty.

        Raises:
            UsageError: naming the field.
        """
        value = self.one(name).strip()
        return whole(value, name) if value else None


def whole(value: str, name: str) -> int:
    """A whole number that a database can hold, from 0 on.

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
