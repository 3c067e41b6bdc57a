"""What of a text stands word for word in the training text: a suffix array over its tokens, on disk, memory-mapped.

Exact: a run is compared token by token. Which model, which texts and which tokenizer they are is not known here.
"""

from __future__ import annotations

import json
import mmap
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog

from contract.text_flaws import LONG_RUN

PART = 1 << 23
"""Tokens that are sorted at once: a part takes some 200 MB of memory, whatever the text is long."""

LONGEST = 1 << 16
"""Runs are exact up to so many tokens: so far a part reads on into the next one."""

KEY = 8
"""Bytes of a suffix that are compared at once, first of all. As many stand behind the training text."""

FOLDER = "copied"
"""Where it lies in a model's folder. It is no part of the model's revision."""
TOKENS, SUFFIXES, DOCUMENTS, DESCRIPTION = "tokens", "suffixes", "documents", "index.json"

log = structlog.get_logger()


class Run(NamedTuple):
    """The longest run of tokens that two texts share; nothing at all has length 0."""

    length: int
    position: int  # in the training text, of its first token
    start: int  # the same in the text that was asked about


class Place(NamedTuple):
    """Where something stands in the corpus."""

    file: str
    record: int  # line or record number, from 1


@dataclass(frozen=True, slots=True)
class Copies:
    """What some texts copied, together."""

    texts: int
    longest: Run
    long_runs: int  # texts with a run of LONG_RUN tokens or more

    @property
    def share(self) -> float:
        return self.long_runs / self.texts if self.texts else 0.0


class CopiedIndex:
    """An index that was built. Any number of threads may ask it."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError or ValueError: there is none, or it is not complete."""
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        self._count, self._part, self._width = described["tokens"], described["part"], described["width"]
        self._files: list[str] = described["files"]
        self._tokens = _mapped(folder / TOKENS)
        self._suffixes = np.memmap(folder / SUFFIXES, np.int32, "r")
        self._documents = np.fromfile(folder / DOCUMENTS, np.int64).reshape(-1, 3)
        if (len(self._tokens), len(self._suffixes)) != (self._count * self._width + KEY, self._count):
            raise ValueError(f"the index of the training text in {folder} is not complete")
        self._keys = _keys(self._tokens, self._width, self._count)

    @classmethod
    def open(cls, folder: Path) -> CopiedIndex:
        return cls(folder)

    @classmethod
    def build(
        cls,
        tokens: npt.NDArray[Any],
        folder: Path,
        documents: npt.NDArray[np.int64] | None = None,
        files: Sequence[str] = (),
        alive: Callable[[], object] = lambda: None,
    ) -> CopiedIndex:
        """Writes an index, 6 bytes a token (8 where tokens have 32 bits), and opens it.

        Args:
            tokens: [tokens], uint16 or uint32, of the training text; may be memory-mapped. At least one.
            folder: is made, and must not hold an index.
            documents: [documents, 3], in order: where each starts in the tokens, the index of its file, its line or
                record in that.
            files: their names.
            alive: called after every part.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / TOKENS).open("xb") as text, (folder / SUFFIXES).open("xb") as suffixes:
            for start in range(0, len(tokens), PART):
                _big_endian(tokens[start : start + PART]).tofile(text)
                _sorted_suffixes(np.array(tokens[start : start + PART + LONGEST])).tofile(suffixes)
                alive()
            text.write(bytes(KEY))
        table = np.empty((0, 3), np.int64) if documents is None else np.asarray(documents, np.int64)
        table.tofile(folder / DOCUMENTS)
        described = {"tokens": len(tokens), "part": PART, "width": tokens.dtype.itemsize, "files": list(files)}
        (folder / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")  # last: it makes the index count
        return cls(folder)

    def longest_run(self, tokens: Sequence[int] | npt.NDArray[Any]) -> Run:
        """The longest run of a text's tokens that stands in the training text; one of them where several are."""
        text = _big_endian(np.asarray(tokens, np.uint32 if self._width == 4 else np.uint16)).tobytes()
        best = Run(0, -1, -1)
        for width in range(KEY // self._width, 0, -1):  # where no run has so many tokens, shorter ones are looked for
            keys = _keys(text + bytes(KEY), self._width, len(text) // self._width - width + 1)
            for first in range(0, self._count, self._part):
                best = self._longest_in(text, keys, width, first, best)
            if best.length:
                break
        return best

    def copies(self, texts: Sequence[Sequence[int]]) -> Copies:
        """What texts, as tokens, copied."""
        runs = [self.longest_run(text) for text in texts]
        longest = max(runs, key=lambda run: run.length, default=Run(0, -1, -1))
        return Copies(len(runs), longest, sum(run.length >= LONG_RUN for run in runs))

    def place(self, position: int) -> Place | None:
        """Where a token of the training text stands; None where the index was built without documents."""
        at = int(np.searchsorted(self._documents[:, 0], position, side="right")) - 1
        if at < 0:
            return None
        _, file, record = self._documents[at].tolist()
        return Place(self._files[file], record)

    def tokens(self, position: int, length: int) -> list[int]:
        """Tokens of the training text."""
        found: list[int] = np.frombuffer(self._at(position, length * self._width), f">u{self._width}").tolist()
        return found

    def _longest_in(self, text: bytes, keys: npt.NDArray[Any], width: int, first: int, best: Run) -> Run:
        """The longest run in one part, of `width` tokens or more, where it is longer than the best one so far."""
        low, high = self._alike(keys, width, first)
        for start in np.flatnonzero(low < high).tolist():
            if len(text) <= (start + best.length) * self._width:
                break
            rest = text[start * self._width : (start + LONGEST) * self._width]
            for position in self._neighbours(rest, first, int(low[start]), int(high[start])):
                best = self._longer(best, rest, position, start)
        return best

    def _alike(self, keys: npt.NDArray[Any], width: int, first: int) -> npt.NDArray[np.int64]:
        """For each key, which of a part's suffixes begin with the same `width` tokens: from where to where, [2, keys].

        Two binary searches for each key, all of them at once.
        """
        end = min(first + self._part, self._count)
        mask = np.uint64(2**64 - 2 ** (64 - 8 * width * self._width))
        wanted, upper = np.tile(keys & mask, (2, 1)), np.array([[False], [True]])
        low, high = np.full(wanted.shape, first), np.full(wanted.shape, end)
        while (low < high).any():
            middle = np.minimum((low + high) // 2, end - 1)
            found = self._keys[first + self._suffixes[middle]].astype(np.uint64) & mask
            before = (low < high) & ((found < wanted) | (upper & (found == wanted)))
            low, high = np.where(before, middle + 1, low), np.where(before, high, np.minimum(middle, high))
        return low

    def _neighbours(self, rest: bytes, first: int, low: int, high: int) -> list[int]:
        """The positions between whose suffixes a text would stand among some: none shares more tokens with it."""

        def suffix(index: int) -> bytes:
            return self._at(first + int(self._suffixes[index]), len(rest))

        index = bisect_left(range(self._count), rest, low, high, key=suffix)
        return [first + int(self._suffixes[near]) for near in (index - 1, index) if low <= near < high]

    def _longer(self, best: Run, rest: bytes, position: int, start: int) -> Run:
        """The run of a text's rest at a position, where it is longer than the best one so far."""
        needed = (best.length + 1) * self._width
        if self._at(position, needed) != rest[:needed]:
            return best
        here = self._at(position, len(rest))
        pair = (np.frombuffer(part[: len(here)], f"u{self._width}") for part in (here, rest))
        differing = np.flatnonzero(np.not_equal(*pair))
        return Run(int(differing[0]) if len(differing) else len(here) // self._width, position, start)

    def _at(self, position: int, size: int) -> bytes:
        """Bytes of the training text, fewer at its end."""
        start = position * self._width
        return self._tokens[start : min(start + size, self._count * self._width)]


def index_in(model_folder: Path | None) -> CopiedIndex | None:
    """The index in a model's folder; None where there is none, as of models that were not tuned here.

    One that cannot be read is logged, and none: texts can be written without it.
    """
    if model_folder is None or not (folder := model_folder / FOLDER).is_dir():
        return None
    try:
        return CopiedIndex.open(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("what texts copy is not counted: the index cannot be read", folder=str(folder), error=str(error))
        return None


def _big_endian(tokens: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """So that bytes have the order of tokens."""
    return tokens.astype(tokens.dtype.newbyteorder(">"))


def _keys(text: bytes | mmap.mmap, width: int, count: int) -> npt.NDArray[Any]:
    """The first bytes of a text's suffixes, as numbers; nothing is copied."""
    return np.ndarray((max(count, 0),), f">u{KEY}", buffer=text, strides=(width,))


def _sorted_suffixes(tokens: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Where the suffixes of a part start, from its start, in their order; those of the next part are left to it."""
    from pydivsufsort import divsufsort  # whoever only asks an index does without

    suffixes = divsufsort(tokens)
    return np.asarray(suffixes[suffixes < PART], np.int32)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
