"""A database as a week of nights leaves it: a million outputs, a tenth of them flagged, written quickly.

The same rows every time. The words' frequencies fall off as those of a language do, so that a search finds many or few.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import orjson
from sqlalchemy import Connection, event, insert, text

from contract.policy import ORIGINAL_LABELS
from contract.spec import JobSpec, Provenance, SamplingSettings
from db.models import Job
from db.models import Provenance as ProvenanceTable
from db.search import search_words
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
class Made:
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
        made_by = _provenance(connection)
    if database.sqlite:  # nobody minds if the bench's own rows are lost in a power cut
        event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        database.engine.dispose()
    jobs = []
    for number, share in enumerate(SHARES):
        count = max(int(outputs * share) // N, 1)
        jobs.append(_fill_job(database, number, count, made_by))
    with database.engine.connect() as connection:  # as the databases do by themselves after a while
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    return jobs


def _provenance(connection: Connection) -> int:
    made_by = Provenance(model="demo", revision="r1", engine="bench", torch="-", device="cpu", isa="-", dtype="fp32")
    values = {name: getattr(made_by, name) for name in Provenance.__dataclass_fields__}
    return int(connection.execute(insert(ProvenanceTable).values(values).returning(ProvenanceTable.id)).scalar_one())


def _fill_job(database: Database, number: int, prompts: int, made_by: int) -> int:
    dice = random.Random(SEED + number)
    spec = JobSpec(name=f"night-{number}.jsonl", fingerprint=f"{number:064}", model="demo", safety="original", seed=1,
                   settings=SamplingSettings(n=N))  # fmt: skip
    ended = time.time() - number * 86400
    with database.write() as connection:
        job = _job(connection, spec, ended)
        first_batch, first_prompt, first_output = (_next(connection, t) for t in ("batches", "prompts", "outputs"))
    made = ([_made(dice) for _ in range(N)] for _ in range(prompts))
    place = 0
    while chunk := list(islice(made, CHUNK // N)):
        writer = _Chunk(job, made_by, first_batch, first_prompt, first_output, place, prompts, ended)
        with database.write() as connection:
            writer.write(connection, chunk, dice)
        place += len(chunk)
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
    dice = random.Random(SEED)
    weights = list(accumulate(1 / place for place in range(1, len(WORDS) + 1)))
    return [" ".join(dice.choices(WORDS, cum_weights=weights, k=8)) for _ in range(20_000)]


PHRASES = _phrases()


def _made(dice: random.Random) -> Made:
    length = int(dice.triangular(8, 64, 64))
    words = " ".join(dice.choices(PHRASES, k=length // 8))
    bad = dice.random() < 0.1
    top = dice.uniform(THRESHOLD, 1.0) if bad else min(dice.paretovariate(1.2) * 0.002, 0.699)
    scores = tuple(min(top * share, 1.0) for share in (1.0, *(dice.random() ** 3 for _ in ORIGINAL_LABELS[1:])))
    if bad and dice.random() < 0.3:  # another label leads
        scores = (scores[1], *scores[2:], top)
    return Made(text=words, tokens=length, finish="length" if length >= 60 else "stop", scores=scores)


class _Chunk:
    """Some prompts of a job with all that belongs to them."""

    def __init__(
        self, job: int, made_by: int, batch: int, prompt: int, output: int, place: int, prompts: int, ended: float
    ) -> None:
        self._job, self._made_by = job, made_by
        self._batch, self._prompt, self._output = batch, prompt, output
        self._place, self._prompts, self._ended = place, prompts, ended

    def write(self, connection: Connection, chunk: Sequence[Sequence[Made]], dice: random.Random) -> None:
        places = range(self._place, self._place + len(chunk))
        batches = sorted({place // BATCH for place in places if place % BATCH == 0})
        copy_rows(connection, "batches", ("id", "job_id", "status"),
                  [(self._batch + batch, self._job, "done") for batch in batches])  # fmt: skip
        copy_rows(connection, "prompts", _PROMPT, [self._prompt_row(place) for place in places])
        outputs = [
            (self._output + place * N + sample, place, sample, made)
            for place, samples in zip(places, chunk, strict=True)
            for sample, made in enumerate(samples)
        ]
        copy_rows(connection, "outputs", _OUTPUT, [self._output_row(*each) for each in outputs])
        scores = [(id, 0, "original", "c1", *made.scores, self._at(place)) for id, place, _, made in outputs]
        copy_rows(connection, "scores", _SCORE, scores)
        flagged = [(id, place, made) for id, place, _, made in outputs if made.reasons]
        copy_rows(connection, "reviews", ("output_id", "job_id", "state", "flagged", "top_score", "lot", "reasons",
                                          *ORIGINAL_LABELS),
                  [(id, self._job, "pending", True, max(made.scores), dice.randrange(2**31),
                    orjson.dumps(made.reasons).decode(), *made.scores) for id, _, made in flagged])  # fmt: skip
        _index(connection, [(id, search_words(f"Tell of {place}", made.text)) for id, place, made in flagged])

    def _at(self, place: int) -> float:
        return self._ended - NIGHT_SECONDS * (1 - place / self._prompts)

    def _prompt_row(self, place: int) -> tuple[Any, ...]:
        metadata = {"topic": WORDS[place % 7], "audience": ("children", "adults")[place % 2], "source": place}
        return (self._prompt + place, self._job, self._batch + place // BATCH, place, N, "done", f"p-{place}",
                f"Tell of {place}", orjson.dumps(metadata).decode())  # fmt: skip

    def _output_row(self, id: int, place: int, sample: int, made: Made) -> tuple[Any, ...]:
        reasons = made.reasons
        return (id, self._prompt + place, self._job, self._made_by, sample, made.text, made.finish, made.tokens, 4,
                place * N + sample, -2.5, self._at(place), "scored", bool(reasons),
                orjson.dumps(reasons).decode() if reasons else None, max(made.scores))  # fmt: skip


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
        listed = list(rows)
        if listed:
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({names}) VALUES ({marks})", [tuple(row) for row in listed]
            )
        return
    with connection.connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _index(connection: Connection, entries: Iterator[tuple[int, str]] | list[tuple[int, str]]) -> None:
    words = "?, ?" if connection.dialect.name == "sqlite" else "%s, to_tsvector('simple', %s)"
    listed = list(entries)
    if listed:
        connection.exec_driver_sql(f"INSERT INTO review_words (rowid, words) VALUES ({words})", listed)


_COUNTED = """
UPDATE batches SET prompts = c.prompts, outputs = c.outputs, done = c.prompts, generated = c.outputs,
  scored = c.outputs, flagged = c.flagged, prompt_tokens = 4 * c.prompts, generated_tokens = c.tokens
FROM (SELECT p.batch_id, count(DISTINCT p.id) AS prompts, count(*) AS outputs, sum(o.tokens) AS tokens,
        sum(CASE WHEN o.flagged THEN 1 ELSE 0 END) AS flagged
      FROM prompts p JOIN outputs o ON o.prompt_id = p.id WHERE p.job_id = :job GROUP BY p.batch_id) AS c
WHERE c.batch_id = batches.id
"""


def _count(connection: Connection, job: int) -> None:
    connection.execute(text(_COUNTED), {"job": job})


def _move_sequences(connection: Connection) -> None:
    """PostgreSQL's own numbers go on behind the ones that were written here."""
    if connection.dialect.name == "sqlite":
        return
    for table in ("batches", "prompts", "outputs"):
        connection.execute(
            text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
        )
