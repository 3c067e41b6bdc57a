"""Writes the files of a part of a prepared corpus, as `contract.tunings.prepared_corpus` says what they hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from contract.tunings.prepared_corpus import documents_file, loss_file, tokens_file

BLOCK = 1 << 20


class PartFiles:
    """The growing files of one part. As a context manager it closes them, on the disk by then if all went well."""

    def __init__(self, folder: Path, part: str, dtype: np.dtype[Any]) -> None:
        self.tokens = self.documents = 0
        self._folder, self._part, self._dtype = folder, part, dtype
        self._files = ExitStack()
        self._tokens = self._open(tokens_file(folder, part))
        self._documents = self._open(documents_file(folder, part))
        self._loss: BinaryIO | None = None

    def begin(self, file: int, line: int) -> None:
        """A document begins.

        Args:
            file: the index of its file.
        """
        self._documents.write(np.array([self.tokens, file, line], "<i8").tobytes())
        self.documents += 1

    def add(self, tokens: Sequence[int], *, learned: bool = True) -> None:
        """More of its tokens."""
        if self._loss is None and not learned and tokens:
            self._begin_loss()
        self._tokens.write(np.array(tokens, self._dtype).tobytes())
        if self._loss is not None:
            self._loss.write(bytes([learned]) * len(tokens))
        self.tokens += len(tokens)

    def _begin_loss(self) -> None:
        """Until now all tokens were to be learned."""
        self._loss = self._open(loss_file(self._folder, self._part))
        for start in range(0, self.tokens, BLOCK):
            self._loss.write(b"\1" * min(BLOCK, self.tokens - start))

    def _open(self, path: Path) -> BinaryIO:
        return self._files.enter_context(path.open("wb"))

    def __enter__(self) -> PartFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._files:
            if kind is None:
                for file in filter(None, (self._tokens, self._documents, self._loss)):
                    file.flush()
                    os.fsync(file.fileno())
