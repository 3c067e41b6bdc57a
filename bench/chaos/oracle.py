"""The judge: reads the tables with SQL of its own after the faults, and compares them with what was acknowledged.

It believes neither the program's counters nor its statuses, and calls none of its functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from bench.chaos.ledger import Acknowledged
from bench.chaos.rawsql import RawSql, run

Key = tuple[str, int]
"""An output: custom_id and sample index."""
Texts = Mapping[Key, str]
FEW = 5
OF_PROMPTS = {
    "prompts": "count(*)",
    "outputs": "sum(p.n)",
    "done": "count(*) FILTER (WHERE p.status = 'done')",
    "dead": "count(*) FILTER (WHERE p.status = 'dead')",
    "cancelled": "count(*) FILTER (WHERE p.status = 'cancelled')",
}
OF_OUTPUTS = {
    "generated": "count(*)",
    "scored": "count(*) FILTER (WHERE o.safety = 'scored')",
    "unscored": "count(*) FILTER (WHERE o.safety = 'unscored')",
    "flagged": "count(*) FILTER (WHERE o.flagged)",
    "generated_tokens": "sum(o.tokens)",
    "prompt_tokens": "sum(CASE WHEN o.sample_index = 0 THEN o.prompt_tokens ELSE 0 END)",
}
"""Each counter of a batch, and how it is counted in its prompts and in its outputs."""
SETTLED_JOBS = frozenset({"completed"})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold."""

    what: str
    holds: bool
    found: str = ""  # what was found, where it does not hold

    def __str__(self) -> str:
        return f"{'PASS' if self.holds else 'FAIL'}  {self.what}" + (f": {self.found}" if self.found else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a row allows, beside every prompt done."""

    texts: Mapping[int, Texts] = field(default_factory=dict)  # by job: those of the undisturbed run
    dead: Mapping[int, Mapping[str, str]] = field(default_factory=dict)  # by job and custom_id: a part of its reason
    cancelled: Collection[int] = ()  # jobs whose prompts may be cancelled
    statuses: Collection[str] = SETTLED_JOBS  # what the jobs may end in
    lease_seconds: float | None = None  # None = leases are not looked at, as after a step of the clock
    ended: bool = True  # every prompt is done, dead or cancelled
    scored: bool = True  # every output of a job has been settled by the classifier


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as it lies in the table."""

    job: int
    custom_id: str
    n: int
    status: str
    reason: str | None
    samples: tuple[int, ...]  # of its outputs, sorted


def judge(sql: RawSql, acknowledged: Acknowledged, expected: Expected) -> list[Check]:
    """Everything that must hold after a run, for the jobs of the ledger."""
    with closing(sql.connect()) as connection:

        def ask(statement: str, *values: Any) -> list[tuple[Any, ...]]:
            return run(connection, statement, values)

        prompts = list(_prompts(ask))
        checks = [
            _nothing_lost(acknowledged, prompts),
            _nothing_else(acknowledged, prompts),
            *([_all_ended(acknowledged, prompts)] if expected.ended else []),
            _one_output_each(prompts),
            _no_orphans(ask),
            _dead_as_expected(prompts, expected.dead),
            _cancelled_as_expected(prompts, expected.cancelled),
            _job_statuses(ask, acknowledged, expected.statuses),
            _batch_counters(ask),
            *([_scores(ask)] if expected.scored else []),
            *([_same_texts(ask, expected.texts)] if expected.texts else []),
        ]
        if expected.lease_seconds is not None:
            checks.append(_leases(ask, sql.sqlite, expected.lease_seconds))
        if sql.sqlite:
            (answer,) = {row[0] for row in ask("PRAGMA integrity_check")} or {"nothing"}
            checks.append(Check("PRAGMA integrity_check is clean", answer == "ok", "" if answer == "ok" else answer))
    return checks


Ask = Callable[..., list[tuple[Any, ...]]]


def _check(what: str, wrong: Iterable[object]) -> Check:
    """Holds where nothing is wrong; else the first few of what is."""
    found = [str(one) for one in wrong]
    more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
    return Check(what, not found, ", ".join(found[:FEW]) + more)


def _prompts(ask: Ask) -> Iterable[Prompt]:
    samples: dict[int, list[int]] = {}
    for prompt, sample in ask("SELECT prompt_id, sample_index FROM outputs ORDER BY prompt_id, sample_index"):
        samples.setdefault(prompt, []).append(sample)
    for number, job, custom_id, n, status, reason in ask(
        "SELECT id, job_id, custom_id, n, status, reason FROM prompts ORDER BY id"
    ):
        yield Prompt(job, custom_id, n, status, reason, tuple(samples.get(number, ())))


def _nothing_lost(acknowledged: Acknowledged, prompts: Iterable[Prompt]) -> Check:
    there = {(prompt.job, prompt.custom_id, prompt.n) for prompt in prompts}
    wanted = ((job, name, n) for job, names in acknowledged.items() for name, n in names.items())
    return _check("every acknowledged prompt is there", (one for one in wanted if one not in there))


def _nothing_else(acknowledged: Acknowledged, prompts: Iterable[Prompt]) -> Check:
    often = Counter((prompt.job, prompt.custom_id) for prompt in prompts)
    wrong = (one for one, times in often.items() if times > 1 or one[1] not in acknowledged.get(one[0], {}))
    return _check("no prompt is there twice, or was never acknowledged", wrong)


def _all_ended(acknowledged: Acknowledged, prompts: Iterable[Prompt]) -> Check:
    ended = Counter(prompt.job for prompt in prompts if prompt.status in ("done", "dead", "cancelled"))
    wrong = (
        f"job {job}: {ended[job]} of {len(names)}" for job, names in acknowledged.items() if ended[job] != len(names)
    )
    return _check("done + dead + cancelled = submitted", wrong)


def _one_output_each(prompts: Iterable[Prompt]) -> Check:
    def right(prompt: Prompt) -> bool:
        once = len(set(prompt.samples)) == len(prompt.samples) and set(prompt.samples) <= set(range(prompt.n))
        return once and (len(prompt.samples) == prompt.n or prompt.status != "done")

    wrong = (f"{p.custom_id} of job {p.job} has {p.samples} of {p.n}" for p in prompts if not right(p))
    return _check("exactly one output for each prompt and sample", wrong)


def _no_orphans(ask: Ask) -> Check:
    lost = ask("SELECT o.id FROM outputs o LEFT JOIN prompts p ON p.id = o.prompt_id "
               "WHERE p.id IS NULL OR p.job_id <> o.job_id")  # fmt: skip
    batches = ask("SELECT p.id FROM prompts p LEFT JOIN batches b ON b.id = p.batch_id "
                  "WHERE b.id IS NULL OR b.job_id <> p.job_id")  # fmt: skip
    jobs = ask("SELECT b.id FROM batches b LEFT JOIN jobs j ON j.id = b.job_id WHERE j.id IS NULL")
    wrong = [f"output {row[0]}" for row in lost] + [f"prompt {row[0]}" for row in batches]
    wrong += [f"batch {row[0]}" for row in jobs]
    return _check("every output has its prompt, every prompt its batch, every batch its job", wrong)


def _dead_as_expected(prompts: Iterable[Prompt], expected: Mapping[int, Mapping[str, str]]) -> Check:
    dead = {(p.job, p.custom_id): p.reason or "" for p in prompts if p.status == "dead"}
    wanted = {(job, name): reason for job, names in expected.items() for name, reason in names.items()}
    innocent = [f"{name} of job {job} ({dead[job, name]})" for job, name in dead.keys() - wanted.keys()]
    alive = [f"{name} of job {job} lives" for job, name in wanted.keys() - dead.keys()]
    misjudged = [f"{key}: {dead[key]!r}" for key in wanted.keys() & dead.keys() if wanted[key] not in dead[key]]
    what = "no innocent prompt is dead"
    return _check(
        what if not wanted else f"{what}; the {len(wanted)} guilty are, each with its reason",
        innocent + alive + misjudged,
    )


def _cancelled_as_expected(prompts: Iterable[Prompt], allowed: Collection[int]) -> Check:
    wrong = (f"{p.custom_id} of job {p.job}" for p in prompts if p.status == "cancelled" and p.job not in allowed)
    return _check("nothing is cancelled that nobody cancelled", wrong)


def _job_statuses(ask: Ask, acknowledged: Acknowledged, allowed: Collection[str]) -> Check:
    statuses: dict[int, str] = dict(ask("SELECT id, status FROM jobs"))
    wrong = [f"job {job} is {statuses.get(job)}" for job in acknowledged if statuses.get(job) not in allowed]
    wrong += [f"job {job} ({statuses[job]}) was never acknowledged" for job in statuses.keys() - acknowledged.keys()]
    return _check(f"the jobs are {' or '.join(sorted(allowed))}, and no others are there", wrong)


def _batch_counters(ask: Ask) -> Check:
    counted = {number: dict.fromkeys((*OF_PROMPTS, *OF_OUTPUTS), 0) for (number,) in ask("SELECT id FROM batches")}
    for counts, source in (
        (OF_PROMPTS, "prompts p"),
        (OF_OUTPUTS, "outputs o JOIN prompts p ON p.id = o.prompt_id"),
    ):
        columns = ", ".join(counts.values())
        for batch, *found in ask(f"SELECT p.batch_id, {columns} FROM {source} GROUP BY p.batch_id"):
            counted.setdefault(batch, {}).update(zip(counts, found, strict=True))
    names = [*OF_PROMPTS, *OF_OUTPUTS]
    wrong = [
        f"batch {batch}: {name} {one}, counted {counted[batch][name]}"
        for batch, *said in ask(f"SELECT id, {', '.join(names)} FROM batches")
        for name, one in zip(names, said, strict=True)
        if int(one) != int(counted[batch][name])
    ]
    return _check("the counters equal the rows", wrong)


def _scores(ask: Ask) -> Check:
    wrong = ask("SELECT o.id, o.safety, count(s.output_id) FROM outputs o "
                "LEFT JOIN scores s ON s.output_id = o.id AND s.revision = 0 GROUP BY o.id, o.safety "
                "HAVING NOT (o.safety = 'scored' AND count(s.output_id) = 1 "
                "OR o.safety IN ('unscored', 'none') AND count(s.output_id) = 0)")  # fmt: skip
    return _check(
        "one score for each output", (f"output {number}: {safety}, {found} scores" for number, safety, found in wrong)
    )


def _leases(ask: Ask, sqlite: bool, seconds: float) -> Check:
    clock = "((julianday('now') - 2440587.5) * 86400.0)" if sqlite else "extract(epoch FROM clock_timestamp())"
    rows = ask(f"SELECT id, {clock} - lease_until FROM batches WHERE lease_until IS NOT NULL")
    wrong = (f"batch {number}: over for {float(late):.1f} s" for number, late in rows if float(late) > seconds)
    return _check("no lease is older than twice its length", wrong)


def _same_texts(ask: Ask, texts: Mapping[int, Texts]) -> Check:
    wrong = (
        f"{key} of job {job}"
        for job, undisturbed in texts.items()
        for key, text in texts_of(ask, job).items()
        if undisturbed.get(key) != text
    )
    return _check("each text equals the undisturbed run's", wrong)


def texts_of(ask: Ask, job: int) -> dict[Key, str]:
    """The stored texts of a job."""
    rows = ask("SELECT p.custom_id, o.sample_index, o.text FROM outputs o JOIN prompts p ON p.id = o.prompt_id "
               "WHERE p.job_id = ?", job)  # fmt: skip
    return {(custom_id, sample): text for custom_id, sample, text in rows}
