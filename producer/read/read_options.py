"""How the user wants a prompt file to be read, where that is not left to its name and contents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contract.errors import UsageError
from producer.read.lines import MAX_DOCUMENT, MAX_LINE

_DELIMITERS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
"""Delimiters that are hard to type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What `run` and `submit` are told about a prompt file, or `tune` about a corpus.

    Raises:
        UsageError: they contradict each other.
    """

    form: str | None = None  # None = the name and the contents tell
    delimiter: str | None = None  # between the cells of a table; None = the header tells
    prompt_column: str = "prompt"
    id_column: str = "custom_id"
    metadata_columns: tuple[str, ...] = ()  # kept as data, although they are named like a setting
    empty_prompts: bool = False  # an empty cell or a null is an empty prompt
    system: str | None = None  # the system message before each row's messages, or before its prompt as the user's

    corpus_columns: tuple[str, ...] = ()  # where texts may be if it is a corpus, whose rows are data, each as it stands

    def __post_init__(self) -> None:
        if self.prompt_column == self.id_column:
            raise UsageError(f"--prompt-column and --id-column: both name {self.id_column!r}; name two columns")
        for option, name in (("--prompt-column", self.prompt_column), ("--id-column", self.id_column)):
            if name in self.metadata_columns:
                raise UsageError(f"{option} and --metadata-column: both name {name!r}; leave out one of them")

        if self.system is not None:
            check_system(self.system)

    @property
    def is_corpus(self) -> bool:
        return bool(self.corpus_columns)

    @property
    def noun(self) -> str:
        """What the file is called in messages."""
        return "corpus" if self.is_corpus else "prompt file"

    @property
    def longest(self) -> int:
        """The longest line or record, in bytes."""
        return MAX_DOCUMENT if self.is_corpus else MAX_LINE

    @property
    def renames(self) -> dict[str, str]:
        """The names in the file that stand for other fields, with those fields."""
        pairs = ((self.prompt_column, "prompt"), (self.id_column, "custom_id"))
        return {name: field for name, field in pairs if name != field}

    @property
    def names_fields(self) -> bool:
        """Whether they say anything about the names of columns or fields."""
        return bool(self.renames or self.metadata_columns)

    def fingerprint_factors(self) -> list[Any]:
        """Whatever in them changes what is read; empty if nothing was asked for. The form is the file's own factor."""
        factors = [
            self.delimiter, self.prompt_column, self.id_column, sorted(self.metadata_columns), self.empty_prompts,
        ]  # fmt: skip
        said = [] if factors == [None, "prompt", "custom_id", [], False] else factors
        return said if self.system is None else [*said, ["system", self.system]]


def check_system(text: str) -> None:
    """Checks the system message that was typed.

    Raises:
        UsageError: it is no text.
    """
    if not text.strip():
        raise UsageError("--system: is empty; write the system message, or leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("--system: contains half a character (a lone surrogate), which is not valid text") from None


def parse_delimiter(text: str | None) -> str | None:
    r"""The delimiter that was typed: one character, or `\t`, `tab`, `comma`, `semicolon`, `pipe`.

    Raises:
        UsageError: it cannot separate cells.
    """
    if text is None:
        return None
    delimiter = _DELIMITERS.get(text, text)
    if len(delimiter) != 1 or delimiter in '"\r\n\0 ' or delimiter.isalnum():
        raise UsageError(f"--delimiter {text!r}: must be one character such as , ; | or tab, and no letter or quote")
    return delimiter
