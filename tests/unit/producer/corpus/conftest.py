"""What the tests of corpora share: tiny tokenizers, and a corpus prepared from texts written here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from contract.tunings.prepared_corpus import Part, PreparedCorpus
from producer.corpus.order import CorpusPath, CorpusSource, PrepareOptions, Report
from producer.corpus.prepare import prepare_corpus
from worker.demo import GPT2_DIR

END = "<|endoftext|>"


class Listener(Report):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int | None]] = []
        self.notes: list[str] = []

    def progress(self, stage: str, done: int, total: int | None) -> None:
        self.stages.append((stage, done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Prepared:
    """A prepared corpus, and what was said on the way."""

    corpus: PreparedCorpus
    heard: Listener
    tokenizer: Tokenizer = field(default_factory=lambda: Tokenizer.from_file(str(GPT2_DIR / "tokenizer.json")))

    @property
    def described(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads((self.corpus.folder / "corpus.json").read_bytes())
        return described

    @property
    def train(self) -> list[str]:
        return self.texts(self.corpus.train)

    @property
    def validation(self) -> list[str]:
        return self.texts(self.corpus.validation)

    @property
    def learned(self) -> list[str]:
        """What is to be learned of each document for training."""
        return self.texts(self.corpus.train, learned=True)

    def texts(self, part: Part, *, learned: bool = False) -> list[str]:
        """The documents of a part, without the end-of-text tokens."""
        starts = [*part.documents[:, 0].tolist(), len(part.tokens)]
        found = []
        for start, end in pairwise(starts):
            tokens = part.tokens[start:end].tolist()
            assert tokens[-1] == self.corpus.end_of_text and self.corpus.end_of_text not in tokens[:-1]
            if learned and part.loss is not None:
                tokens = [t for t, is_learned in zip(tokens, part.loss[start:end], strict=True) if is_learned]
            found.append(self.tokenizer.decode(tokens[:-1], skip_special_tokens=False))
        return found


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Prepared]:
    """Writes files and prepares a corpus of them."""

    def preparing(
        files: Mapping[str, str | bytes] | str, *sources: CorpusSource, model: str | Path = "demo", **options: Any
    ) -> Prepared:
        files = {"corpus.txt": files} if isinstance(files, str) else files
        for name, contents in files.items():
            (tmp_path / name).write_bytes(contents.encode() if isinstance(contents, str) else contents)
        heard = Listener()
        asked = [*(CorpusPath(str(tmp_path / name)) for name in files), *sources]
        corpus = prepare_corpus(asked, model, tmp_path / "prepared", PrepareOptions(**options), heard)
        return Prepared(corpus, heard)

    return preparing


def jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
