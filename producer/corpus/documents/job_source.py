"""A job's own texts as documents: what was asked is read, and the text that stands is learned.

They are read from the database once, as they are at one moment, and kept in an unnamed file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from common.wording import counted
from contract.errors import BadLine, UsageError
from contract.spec import FINISHED_JOBS
from contract.tunings.prepared_corpus import OUTPUTS
from db.jobs.jobs import get_job
from db.results.corpus_rows import CorpusRow, corpus_rows, selection_digest
from db.session.engine import Database
from producer.corpus.documents.pieces import Piece
from producer.corpus.documents.plain_text import OnBadLine
from producer.corpus.documents.rows import COMPLETION, PROMPT, RowDocuments
from producer.corpus.documents.source import Unchanging
from producer.export import parse_only
from producer.read.columns import MESSAGES
from producer.read.row_parser import BadRow
from producer.source import Cursor, spool


def job_digest(database: Database, job: int, only: str) -> str:
    """SHA-256 of what a job's texts are now: which outputs, in which revision, by which decision.

    Raises:
        NoSuchJob: there is no such job.
        UsageError: there is no such selection of its outputs.
    """
    found = get_job(database, job)
    return selection_digest(database, found, parse_only(only, found.safety))


class JobSource(Unchanging):
    """The texts of one job. Which they are is written to a list beside the corpus.

    Args:
        only: selections of outputs, as an export has them.
        folder: of the corpus.

    Raises:
        NoSuchJob: there is no such job.
        UsageError: there is no such selection of its outputs, or nothing in it.
    """

    def __init__(self, database: Database, job: int, only: str, folder: Path, rows: RowDocuments) -> None:
        found = get_job(database, job)
        self.job, self.name, self._rows = job, f"job {job}", rows
        self.notes: list[str] = []
        chosen = parse_only(only, found.safety)
        self._count = 0
        with (folder / OUTPUTS).open("wb") as outputs:
            written = corpus_rows(database, found, chosen)
            self._file = spool((self._kept(row, outputs) for row in written), self.name)
        if not self._count:
            self.close()
            raise UsageError(
                f"--from-job {job}: none of its outputs is {' or '.join(chosen)}; review them, or choose others with "
                "--only"
            )
        if found.status not in FINISHED_JOBS:
            self.notes.append(f"job {job} is not finished; its {counted(self._count, 'text')} so far are taken")

    def _kept(self, row: CorpusRow, outputs: BinaryIO) -> bytes:
        self._count += 1
        listed = {"output": row.output, "revision": row.revision, "decision": row.decision}
        outputs.write(orjson.dumps(listed) + b"\n")
        asked: dict[str, Any] = {PROMPT: row.prompt, COMPLETION: row.text}
        if row.messages and row.text.strip():
            asked = {MESSAGES: [*row.messages, {"role": "assistant", "content": row.text}]}
        return orjson.dumps({"output": row.output, **asked}) + b"\n"

    def pieces(self, on_bad: OnBadLine) -> Iterator[Piece]:
        for line in io.BufferedReader(Cursor(self._file.fileno()), 1 << 20):
            fields = orjson.loads(line)
            output = fields.pop("output")
            try:
                pieces = list(self._rows.pieces(output, fields))
            except BadRow as error:
                on_bad(BadLine(output, error.problem))
            else:
                yield from pieces

    def close(self) -> None:
        self._file.close()
