"""What tells one `inkmill tune` from another: what the corpus and a base's folder hold now, how the corpus is read, and
what is asked of the training.

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
from contract.tunings.base_files import base_digest
from contract.tunings.order import TuningOrder
from producer.corpus.documents.dataset_source import dataset_digest
from producer.corpus.documents.job_source import job_digest
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
        UsageError: a file cannot be read, or there is no such data set or selection of a job.
        NoSuchJob: there is no such job.
        Unreachable: a data set cannot be fetched.
    """
    asked = order.to_json() | ({} if seed_was_given else {"seed": None})
    reading = asdict(options) | {"validation_files": [_of_file(path) for path in options.validation_files]}
    read = [_of_source(source, options) for source in sources]
    said = json.dumps([asked, _of_base(order.base), reading, read], sort_keys=True)
    return f"{order.name}-{hashlib.sha256(said.encode()).hexdigest()[:DIGITS]}"


def _of_base(base: str) -> str | None:
    try:
        return base_digest(base)
    except OSError as error:
        raise UsageError(f"--base {base}: cannot be read: {error.strerror or error}") from None


def another_name(name: str) -> str:
    """The name of the folder of one more tuning of the same kind."""
    return f"{name}-{secrets.token_hex(4)}"


def _of_source(source: CorpusSource, options: PrepareOptions) -> Any:
    """A source by its name and by what it holds now: a job is reviewed further, a data set gets another version."""
    match source:
        case CorpusPath(path):
            return _of_file(path)
        case CorpusDataset(name, config, split):
            return ["dataset", name, config, split, dataset_digest(name, config, split, options.text_column)]
        case CorpusJob(database, job, only):
            return ["job", job, only, job_digest(database, job, only)]


def _of_file(path: str) -> list[str]:
    """A file by its name and its bytes. Standard input is read only once, so it is never the same again."""
    if path == STDIN:
        return [path, secrets.token_hex(16)]
    try:
        with Path(path).open("rb") as file:
            return [Path(path).name, hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
