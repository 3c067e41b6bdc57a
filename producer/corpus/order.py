"""What is asked of a corpus: which texts, and how they are to be prepared."""

from __future__ import annotations

from dataclasses import dataclass

from contract.errors import UsageError
from db.session.engine import Database

MAX_SHARE = 0.5
SHARE = 0.05
"""Of a corpus that is held back for validation."""


@dataclass(frozen=True, slots=True)
class CorpusPath:
    """A file; "-" is standard input."""

    path: str


@dataclass(frozen=True, slots=True)
class CorpusDataset:
    """A split of a data set of the Hugging Face Hub, or of a folder."""

    name: str
    config: str | None = None
    split: str = "train"


@dataclass(frozen=True, slots=True)
class CorpusJob:
    """The outputs of a job."""

    database: Database
    job: int
    only: str = "approved"  # selections, as an export has them


CorpusSource = CorpusPath | CorpusDataset | CorpusJob


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """How a corpus is read and divided.

    Raises:
        UsageError: the share cannot be held back.
    """

    text_column: str | None = None  # None = `text`, or prompt and completion, or messages
    paragraphs: bool = False  # blank lines end documents of plain text
    form: str | None = None  # of the files; None = their names and contents tell
    delimiter: str | None = None  # between the cells of a table; None = the header tells
    validation: float = SHARE  # held back; 0 = nothing
    validation_files: tuple[str, ...] = ()  # held back in place of a share
    train_on_prompts: bool = False
    skip_bad: bool = False
    end_of_text: str | None = None  # the token behind documents; None = the model's own

    def __post_init__(self) -> None:
        if not 0 <= self.validation <= MAX_SHARE:
            raise UsageError(
                f"--validation {self.validation:g}: is a share from 0 to {MAX_SHARE:g}, or a file; for example 0.05"
            )


class Report:
    """Hears how a preparation goes; this one does not listen."""

    def progress(self, stage: str, done: int, total: int | None) -> None:
        """How far it is, in characters.

        Args:
            stage: "reading" or "tokenising".
            total: None = not known yet.
        """

    def note(self, text: str) -> None:
        """What the user should know."""
