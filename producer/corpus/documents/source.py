"""What documents can be read from: named, hashed, and read twice, which has to give the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from producer.corpus.documents.pieces import Piece
from producer.corpus.documents.plain_text import OnBadLine


class DocumentSource(Protocol):
    """A file, a data set or a job. Until it is closed its documents can be read as often as needed.

    Raises (from any method):
        UsageError: it cannot be used, or was changed since it was opened.
    """

    name: str  # shown to users
    notes: list[str]  # what the user should know of how it is read

    def pieces(self, on_bad: OnBadLine) -> Iterator[Piece]:
        """The documents in it; `on_bad` is called with each line or record that is left out."""
        ...

    def digest(self) -> str | None:
        """SHA-256 of its bytes; None if it has none but those of its documents."""
        ...

    def check_stat(self) -> None:
        """Checks cheaply that it was not changed."""
        ...

    def check_contents(self) -> None:
        """Checks that it still is what `digest` says."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


class Unchanging:
    """What a source reads that is a copy of its own: nobody changes it, and it has no bytes but its documents'."""

    def digest(self) -> None:
        return None

    def check_stat(self) -> None:
        """Nothing to check."""

    def check_contents(self) -> None:
        """Likewise."""
