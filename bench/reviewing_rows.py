"""A database as a week of nights leaves it: a million outputs, a tenth of them flagged, written quickly.

The same rows every time. The words' frequencies fall off as those of a language do, so that a search finds many or few.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import orjson
from sqlalchemy import Connection, event, insert, text

from contract.policy import ORIGINAL_LABELS
from contract.spec import JobSpec, Provenance, SamplingSettings
from db.models import Job
from db.models import Provenance as ProvenanceTable
from db.search import output_words
from db.search_index import index_words
from db.session.engine import Database

SEED = 8123
CHUNK = 20_000
N = 4  # samples of a prompt
BATCH = 256  # prompts
THRESHOLD = 0.7
NIGHT_SECONDS = 8 * 3600.0
WORDS = tuple(f"{a}{b}{c}" for a in ("ka", "lo", "mi", "ru", "se", "ta", "vo", "ne") for b in ("ra", "li", "do", "mu",
              "pe", "sa", "ti", "go") for c in ("n", "s", "t", "", "rk", "la", "me", "shi"))  # fmt: skip
SHARES = (0.9, 0.04, 0.03, 0.02, 0.01)
"""How the outputs lie in jobs: one large one, which a page shows as often as the others."""


@dataclass(frozen=True, slots=True)
class DraftOutput:
    """One output before it is stored."""

    text: str
    tokens: int
    finish: str
    scores: tuple[float, ...]

    @property
    def reasons(self) -> list[str]:
        return [label for label, score in zip(ORIGINAL_LABELS, self.scores, strict=True) if score >= THRESHOLD]


def fill(database: Database, outputs: int) -> list[int]:
    """Writes jobs with so many outputs. Returns the jobs' ids, the large one first."""
    with database.write() as connection:
        provenance_id = _provenance(connection)
    if database.sqlite:  # nobody minds if the bench's own rows are lost in a power cut
        event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        database.engine.dispose()
    jobs = []
    for number, share in enumerate(SHARES):
        count = max(int(outputs * share) // N, 1)
        jobs.append(_fill_job(database, number, count, provenance_id))
    with database.engine.connect() as connection:  # as the databases do by themselves after a while
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    return jobs


def _provenance(connection: Connection) -> int:
    provenance = Provenance(model="demo", revision="r1", engine="bench", torch="-", device="cpu", isa="-", dtype="fp32")
    values = {name: getattr(provenance, name) for name in Provenance.__dataclass_fields__}
    return int(connection.execute(insert(ProvenanceTable).values(values).returning(ProvenanceTable.id)).scalar_one())


def _fill_job(database: Database, number: int, prompts: int, provenance_id: int) -> int:
    rng = random.Random(SEED + number)
    spec = JobSpec(name=f"night-{number}.jsonl", fingerprint=f"{number:064}", model="demo", safety="original", seed=1,
                   settings=SamplingSettings(n=N))  # fmt: skip
    ended = time.time() - number * 86400
    with database.write() as connection:
        job = _job(connection, spec, ended)
        first_batch, first_prompt, first_output = (_next(connection, t) for t in ("batches", "prompts", "outputs"))
    prompts_drafted = ([_draft(rng) for _ in range(N)] for _ in range(prompts))
    position = 0
    while chunk := list(islice(prompts_drafted, CHUNK // N)):
        writer = _Chunk(job, provenance_id, first_batch, first_prompt, first_output, position, prompts, ended)
        with database.write() as connection:
            writer.write(connection, chunk, rng)
        position += len(chunk)
    with database.write() as connection:
        _count(connection, job)
        _move_sequences(connection)
    return job


def _job(connection: Connection, spec: JobSpec, ended: float) -> int:
    values = {
        "name": spec.name, "status": "completed", "fingerprint": spec.fingerprint, "model": spec.model,
        "safety": spec.safety, "seed": spec.seed, "settings": spec.settings.to_dict(), "thresholds": {},
        "blocklist": [], "on_flag": spec.on_flag, "batch_size": BATCH, "device": "cpu", "dtype": "fp32",
        "created_at": ended - NIGHT_SECONDS - 60, "started_at": ended - NIGHT_SECONDS, "finished_at": ended,
    }  # fmt: skip
    return int(connection.execute(insert(Job).values(values).returning(Job.id)).scalar_one())


def _next(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")).scalar_one())


def _phrases() -> list[str]:
    """Stretches of eight words, each word as frequent as its place in the list says (Zipf)."""
    rng = random.Random(SEED)
    weights = list(accumulate(1 / position for position in range(1, len(WORDS) + 1)))
    return [" ".join(rng.choices(WORDS, cum_weights=weights, k=8)) for _ in range(20_000)]


PHRASES = _phrases()


def _draft(rng: random.Random) -> DraftOutput:
    length = int(rng.triangular(8, 64, 64))
    words = " ".join(rng.choices(PHRASES, k=length // 8))
    bad = rng.random() < 0.1
    top = rng.uniform(THRESHOLD, 1.0) if bad else min(rng.paretovariate(1.2) * 0.002, 0.699)
    scores = tuple(min(top * share, 1.0) for share in (1.0, *(rng.random() ** 3 for _ in ORIGINAL_LABELS[1:])))
    if bad and rng.random() < 0.3:  # another label leads
        scores = (scores[1], *scores[2:], top)
    return DraftOutput(text=words, tokens=length, finish="length" if length >= 60 else "stop", scores=scores)


class _Chunk:
    """Some prompts of a job with all that belongs to them."""

    def __init__(
        self,
        job: int,
        provenance_id: int,
        batch: int,
        prompt: int,
        output: int,
        position: int,
        prompts: int,
        ended: float,
    ) -> None:
        self._job, self._made_by = job, provenance_id
        self._batch, self._prompt, self._output = batch, prompt, output
        self._position, self._prompts, self._ended = position, prompts, ended

    def write(self, connection: Connection, chunk: Sequence[Sequence[DraftOutput]], rng: random.Random) -> None:
        places = range(self._position, self._position + len(chunk))
        batches = sorted({position // BATCH for position in places if position % BATCH == 0})
        copy_rows(connection, "batches", ("id", "job_id", "status"),
                  [(self._batch + batch, self._job, "done") for batch in batches])  # fmt: skip
        copy_rows(connection, "prompts", _PROMPT, [self._prompt_row(position) for position in places])
        outputs = [
            (self._output + position * N + sample, position, sample, draft)
            for position, samples in zip(places, chunk, strict=True)
            for sample, draft in enumerate(samples)
        ]
        copy_rows(connection, "outputs", _OUTPUT, [self._output_row(*each) for each in outputs])
        scores = [(id, 0, "original", "c1", *draft.scores, self._at(position)) for id, position, _, draft in outputs]
        copy_rows(connection, "scores", _SCORE, scores)
        flagged = [(id, position, draft) for id, position, _, draft in outputs if draft.reasons]
        copy_rows(connection, "reviews", ("output_id", "job_id", "state", "flagged", "top_score", "lot", "reasons",
                                          *ORIGINAL_LABELS),
                  [(id, self._job, "pending", True, max(draft.scores), rng.randrange(2**31),
                    orjson.dumps(draft.reasons).decode(), *draft.scores) for id, _, draft in flagged])  # fmt: skip
        words = {id: self._words(position, draft) for id, position, _, draft in outputs}
        index_words(connection, "output_words", words.items())
        index_words(connection, "review_words", [(id, words[id]) for id, _, _ in flagged])

    def _at(self, position: int) -> float:
        return self._ended - NIGHT_SECONDS * (1 - position / self._prompts)

    def _prompt_row(self, position: int) -> tuple[Any, ...]:
        return (
            self._prompt + position, self._job, self._batch + position // BATCH, position, N, "done", f"p-{position}",
            f"Tell of {position}", orjson.dumps(_metadata(position)).decode(),
        )  # fmt: skip

    def _words(self, position: int, draft: DraftOutput) -> str:
        return output_words(f"p-{position}", f"Tell of {position}", draft.text, _metadata(position))

    def _output_row(self, id: int, position: int, sample: int, draft: DraftOutput) -> tuple[Any, ...]:
        reasons = draft.reasons
        return (
            id, self._prompt + position, self._job, self._made_by, sample, draft.text, draft.finish, draft.tokens, 4,
            position * N + sample, -2.5, self._at(position), "scored", bool(reasons),
            orjson.dumps(reasons).decode() if reasons else None, max(draft.scores),
        )  # fmt: skip


def _metadata(position: int) -> dict[str, Any]:
    return {"topic": WORDS[position % 7], "audience": ("children", "adults")[position % 2], "source": position}


_PROMPT = ("id", "job_id", "batch_id", "position", "n", "status", "custom_id", "prompt", "metadata")
_OUTPUT = ("id", "prompt_id", "job_id", "provenance_id", "sample_index", "text", "finish_reason", "tokens",
           "prompt_tokens", "seed", "mean_logprob", "created_at", "safety", "flagged", "flag_reasons",
           "top_score")  # fmt: skip
_SCORE = ("output_id", "revision", "classifier", "classifier_revision", *ORIGINAL_LABELS, "created_at")


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes many rows the fastest way that a database has."""
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        as_list = list(rows)
        if as_list:
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({names}) VALUES ({marks})", [tuple(row) for row in as_list]
            )
        return
    with connection.connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


_COUNT_BATCHES = """
UPDATE batches SET prompts = c.prompts, outputs = c.outputs, done = c.prompts, generated = c.outputs,
  scored = c.outputs, flagged = c.flagged, prompt_tokens = 4 * c.prompts, generated_tokens = c.tokens
FROM (SELECT p.batch_id, count(DISTINCT p.id) AS prompts, count(*) AS outputs, sum(o.tokens) AS tokens,
        sum(CASE WHEN o.flagged THEN 1 ELSE 0 END) AS flagged
      FROM prompts p JOIN outputs o ON o.prompt_id = p.id WHERE p.job_id = :job GROUP BY p.batch_id) AS c
WHERE c.batch_id = batches.id
"""


def _count(connection: Connection, job: int) -> None:
    connection.execute(text(_COUNT_BATCHES), {"job": job})


def _move_sequences(connection: Connection) -> None:
    """PostgreSQL's own numbers go on behind the ones that were written here."""
    if connection.dialect.name == "sqlite":
        return
    for table in ("batches", "prompts", "outputs"):
        connection.execute(
            text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
        )
