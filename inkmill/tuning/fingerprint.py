"""What tells one `inkmill tune` from another: the corpus' bytes, how it is read, and what is asked of the training.

The same again is the same tuning, which is taken up where it was.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contract.errors import UsageError
from contract.tunings.order import TuningOrder
from producer.corpus.order import CorpusDataset, CorpusJob, CorpusPath, CorpusSource, PrepareOptions

DIGITS = 12
STDIN = "-"


def folder_name(
    order: TuningOrder, sources: Sequence[CorpusSource], options: PrepareOptions, *, seed_was_given: bool
) -> str:
    """The name of a tuning's folder, made of the model's and a digest of everything that was asked for.

    Args:
        seed_was_given: a seed that was drawn tells nothing apart.

    Raises:
        UsageError: a file cannot be read.
    """
    asked = order.to_json() | ({} if seed_was_given else {"seed": None})
    reading = asdict(options) | {"validation_files": [_of_file(path) for path in options.validation_files]}
    said = json.dumps([asked, reading, [_of_source(source) for source in sources]], sort_keys=True)
    return f"{order.name}-{hashlib.sha256(said.encode()).hexdigest()[:DIGITS]}"


def another_name(name: str) -> str:
    """The name of the folder of one more tuning of the same kind."""
    return f"{name}-{secrets.token_hex(4)}"


def _of_source(source: CorpusSource) -> Any:
    match source:
        case CorpusPath(path):
            return _of_file(path)
        case CorpusDataset(name, config, split):
            return ["dataset", name, config, split]
        case CorpusJob(_, job, only):
            return ["job", job, only]


def _of_file(path: str) -> list[str]:
    """A file by its name and its bytes. Standard input is read only once, so it is never the same again."""
    if path == STDIN:
        return [path, secrets.token_hex(16)]
    try:
        with Path(path).open("rb") as file:
            return [Path(path).name, hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
