"""What the tests of prompt files share: writing one, and reading it back."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zstandard

from contract.errors import BadLine
from contract.spec import PromptRow
from producer.read.prompt_file import open_prompt_file
from producer.read.read_options import ReadOptions

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


@dataclass
class Read:
    """What came of reading one prompt file."""

    rows: list[PromptRow] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    model: str | None = None
    format: str = ""

    @property
    def told(self) -> str:
        return "\n".join(map(str, self.bad))


def no_bad_line(line: BadLine, raw: bytes) -> None:
    """An `on_bad` for files whose lines are all good."""
    raise AssertionError(f"{line}: {raw!r}")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    """Writes `data` to a file and reads it."""

    def reading(
        data: bytes | str, name: str = "p.jsonl", flags: Mapping[str, Any] | None = None, **options: Any
    ) -> Read:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        result = Read()

        def on_bad(line: BadLine, raw: bytes) -> None:
            result.bad.append(line)
            result.raw.append(raw)

        with open_prompt_file(str(path), ReadOptions(**options)) as file:
            result.rows = list(file.rows(flags or {}, on_bad))
            result.notes, result.model, result.format = file.notes, file.model, file.format
            result.remarks = file.remarks
        return result

    return reading
