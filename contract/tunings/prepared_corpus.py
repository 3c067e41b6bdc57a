"""A corpus that is ready to train with: tokens in memory-mapped files, with what is known of where they come from.

Says what the files hold and reads them. How they are made, and what is learned of them, is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import UsageError

DESCRIPTION = "corpus.json"
"""Written last: a folder without it holds no corpus, whatever else is in it."""
OUTPUTS = "outputs.jsonl"
"""Where a corpus came from a job: {"output", "revision", "decision"} of each text that was read of it, one a line.
Which of them are in it is for the tables of documents to say."""
TRAIN, VALIDATION = "train", "validation"
PARTS = (TRAIN, VALIDATION)
NARROW, WIDE = "uint16", "uint32"
MAX_NARROW = 1 << 16
"""The largest vocabulary whose tokens take two bytes."""
ENTRIES = ("start", "file", "line")
"""What the table of documents says of each: where in the tokens it starts, which of the files it is from (from 0), and
its line or record there (from 1; of a job, the number of its output)."""


def token_type(vocabulary: int) -> np.dtype[Any]:
    """The little-endian type of a corpus' tokens, by the size of the tokenizer's vocabulary."""
    return np.dtype(NARROW if vocabulary <= MAX_NARROW else WIDE).newbyteorder("<")


def tokens_file(folder: Path, part: str) -> Path:
    """The tokens of all documents, one document after the other, each with the end-of-text token behind it."""
    return folder / f"{part}.tokens"


def loss_file(folder: Path, part: str) -> Path:
    """One byte a token: 1 if it is to be learned, 0 if it is only read. There only where some are only read."""
    return folder / f"{part}.loss"


def documents_file(folder: Path, part: str) -> Path:
    """The table of documents: `ENTRIES` as int64, [documents, 3]."""
    return folder / f"{part}.documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFile:
    """One file, data set or job that documents came from, and what it gave. The texts held back count as well."""

    name: str
    sha256: str  # of the file's bytes; of a data set or a job, of its documents one after the other
    documents: int  # without duplicates and empty ones
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The documents to train with, or those held back for validation. The arrays are memory-mapped and read-only."""

    tokens: NDArray[Any]  # [tokens], uint16 or uint32
    loss: NDArray[np.uint8] | None  # [tokens]; None = every token is to be learned
    documents: NDArray[np.int64]  # [documents, 3], as `ENTRIES` says

    def block_count(self, block: int) -> int:
        """How many blocks of that many predictions there are; the last one may be shorter."""
        return max(0, -(-(len(self.tokens) - 1) // block))

    def block(self, index: int, block: int) -> NDArray[Any]:
        """The tokens of a block: each but the last predicts the next one. [block + 1], or fewer at the end."""
        return self.tokens[index * block : (index + 1) * block + 1]

    def block_loss(self, index: int, block: int) -> NDArray[np.uint8] | None:
        """For each token of a block whether it is to be learned; None = all of them."""
        return None if self.loss is None else self.loss[index * block : (index + 1) * block + 1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedCorpus:
    """A prepared corpus in its folder."""

    folder: Path
    files: tuple[CorpusFile, ...]
    vocabulary: int  # every token is below it
    end_of_text: int  # the token behind each document
    tokenizer: str  # SHA-256 of the tokenizer's files: `contract.tunings.base_files.tokenizer_digest`
    duplicates: int  # documents left out because the same text was there before
    empty: int  # documents left out because they hold nothing
    job: int | None  # whose outputs it was made of
    outputs: Path | None  # the list of them
    train: Part
    validation: Part

    @classmethod
    def open(cls, folder: Path) -> PreparedCorpus:
        """The corpus in a folder.

        Raises:
            UsageError: there is none, its preparation did not finish, or files do not go together.
        """
        said = _description(folder)
        try:
            return cls(
                folder=folder,
                files=tuple(CorpusFile(**file) for file in said["files"]),
                outputs=folder / said["outputs"] if said["outputs"] else None,
                **{name: said[name] for name in _PLAIN},
                train=_part(folder, TRAIN, said),
                validation=_part(folder, VALIDATION, said),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{folder}: is a damaged corpus ({error}); prepare it once more") from error


_PLAIN = ("vocabulary", "end_of_text", "tokenizer", "duplicates", "empty", "job")


def _description(folder: Path) -> Mapping[str, Any]:
    try:
        said: Mapping[str, Any] = json.loads((folder / DESCRIPTION).read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder}: holds no corpus, or one whose preparation did not finish; prepare it once more"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / DESCRIPTION}: cannot be read ({error}); prepare the corpus once more") from error
    return said


def _part(folder: Path, part: str, said: Mapping[str, Any]) -> Part:
    tokens, documents = said["tokens"][part], said["documents"][part]
    masked = loss_file(folder, part).exists()
    return Part(
        _mapped(tokens_file(folder, part), np.dtype(said["dtype"]).newbyteorder("<"), tokens),
        _mapped(loss_file(folder, part), np.dtype(np.uint8), tokens) if masked else None,
        _mapped(documents_file(folder, part), np.dtype("<i8"), len(ENTRIES) * documents).reshape(-1, len(ENTRIES)),
    )


def _mapped(path: Path, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    size = path.stat().st_size
    if size != count * dtype.itemsize:
        raise ValueError(f"{path.name} has {size:,} bytes, not {count * dtype.itemsize:,}")
    return np.memmap(path, dtype, mode="r") if count else np.empty(0, dtype)
