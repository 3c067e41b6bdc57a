"""The judge: compares the tables with what was acknowledged and with the undisturbed texts, in SQL of its own.

It believes neither the program's counters nor its statuses, and calls none of its functions. What was written down
outside the program is laid beside its tables first, as temporary ones, so that a million texts are judged in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from bench.chaos.ledger import Acknowledged
from bench.chaos.rawsql import RawSql, create_temporary_table, run

Key = tuple[str, int]
"""An output: custom_id and sample index."""
Texts = Mapping[Key, str]
MAX_EXAMPLES = 5
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
    scored: bool = True  # every output of a job has been settled by the classifier, and entered the review queue
    unscored: Collection[int] = ()  # jobs whose outputs the classifier may have failed at


def judge(sql: RawSql, acknowledged: Acknowledged, expected: Expected) -> list[Check]:
    """Everything that must hold after a run, for the jobs of the ledger."""
    with closing(sql.connect()) as connection:

        def ask(statement: str, *values: Any) -> list[tuple[Any, ...]]:
            return run(connection, statement, values)

        _load_expectations(connection, acknowledged, expected.texts)
        checks = [
            _nothing_lost(ask),
            _nothing_else(ask),
            *([_all_ended(ask)] if expected.ended else []),
            _one_output_each(ask),
            _no_orphans(ask),
            _dead_as_expected(ask, expected.dead),
            _cancelled_as_expected(ask, expected.cancelled),
            _job_statuses(ask, acknowledged, expected.statuses),
            _batch_counters(ask),
            *([_scores(ask, expected.unscored), _review_queue(ask)] if expected.scored else []),
            *([_same_texts(ask)] if expected.texts else []),
        ]
        if expected.lease_seconds is not None:
            checks.append(_leases(ask, sql.sqlite, expected.lease_seconds))
        if sql.sqlite:
            (answer,) = {row[0] for row in ask("PRAGMA integrity_check")} or {"nothing"}
            checks.append(Check("PRAGMA integrity_check is clean", answer == "ok", "" if answer == "ok" else answer))
    return checks


Ask = Callable[..., list[tuple[Any, ...]]]


def _check(what: str, violations: Iterable[object]) -> Check:
    """Holds where nothing is wrong; else the first few of what is."""
    found = [str(one) for one in violations]
    more = f" and {len(found) - MAX_EXAMPLES} more" if len(found) > MAX_EXAMPLES else ""
    return Check(what, not found, ", ".join(found[:MAX_EXAMPLES]) + more)


def _load_expectations(connection: Any, acknowledged: Acknowledged, texts: Mapping[int, Texts]) -> None:
    """Lays the ledger and the undisturbed texts beside the program's tables. Jobs of one file share its texts."""
    named = ((job, name, n) for job, names in acknowledged.items() for name, n in names.items())
    create_temporary_table(connection, "acknowledged", {"job": "BIGINT", "custom_id": "TEXT"}, {"n": "INTEGER"}, named)
    runs = {id(one): one for one in texts.values()}
    run_of_job = ((job, id(one)) for job, one in texts.items())
    create_temporary_table(connection, "disturbed", {"job": "BIGINT"}, {"run": "BIGINT"}, run_of_job)
    create_temporary_table(
        connection,
        "undisturbed",
        {"run": "BIGINT", "custom_id": "TEXT", "sample": "INTEGER"},
        {"text": "TEXT"},
        ((run, *key, text) for run, one in runs.items() for key, text in one.items()),
    )


def _nothing_lost(ask: Ask) -> Check:
    violations = ask("SELECT job, custom_id, n FROM acknowledged EXCEPT SELECT job_id, custom_id, n FROM prompts")
    return _check("every acknowledged prompt is there", violations)


def _nothing_else(ask: Ask) -> Check:
    violations = ask("SELECT p.job_id, p.custom_id, count(*) FROM prompts p "
                "LEFT JOIN acknowledged a ON a.job = p.job_id AND a.custom_id = p.custom_id "
                "GROUP BY p.job_id, p.custom_id HAVING count(*) <> count(a.job) OR count(*) > 1")  # fmt: skip
    return _check("no prompt is there twice, or was never acknowledged", violations)


def _all_ended(ask: Ask) -> Check:
    rows = ask("SELECT a.job, count(*), (SELECT count(*) FROM prompts p "
               "WHERE p.job_id = a.job AND p.status IN ('done', 'dead', 'cancelled')) "
               "FROM acknowledged a GROUP BY a.job")  # fmt: skip
    violations = (f"job {job}: {ended} of {wanted}" for job, wanted, ended in rows if ended != wanted)
    return _check("done + dead + cancelled = submitted", violations)


def _one_output_each(ask: Ask) -> Check:
    rows = ask("SELECT p.job_id, p.custom_id, p.status, p.n, count(o.id), count(DISTINCT o.sample_index) "
               "FROM prompts p LEFT JOIN outputs o ON o.prompt_id = p.id "
               "GROUP BY p.id, p.job_id, p.custom_id, p.status, p.n "
               "HAVING count(o.id) <> count(DISTINCT o.sample_index) "
               "OR min(o.sample_index) < 0 OR max(o.sample_index) >= p.n "
               "OR (p.status = 'done' AND count(o.id) <> p.n)")  # fmt: skip
    violations = (
        f"{name} of job {job} ({status}) has {outputs} outputs of {samples} samples, wanted {n}"
        for job, name, status, n, outputs, samples in rows
    )
    return _check("exactly one output for each prompt and sample", violations)


def _no_orphans(ask: Ask) -> Check:
    lost = ask("SELECT o.id FROM outputs o LEFT JOIN prompts p ON p.id = o.prompt_id "
               "WHERE p.id IS NULL OR p.job_id <> o.job_id")  # fmt: skip
    batches = ask("SELECT p.id FROM prompts p LEFT JOIN batches b ON b.id = p.batch_id "
                  "WHERE b.id IS NULL OR b.job_id <> p.job_id")  # fmt: skip
    jobs = ask("SELECT b.id FROM batches b LEFT JOIN jobs j ON j.id = b.job_id WHERE j.id IS NULL")
    violations = [f"output {row[0]}" for row in lost] + [f"prompt {row[0]}" for row in batches]
    violations += [f"batch {row[0]}" for row in jobs]
    return _check("every output has its prompt, every prompt its batch, every batch its job", violations)


def _dead_as_expected(ask: Ask, expected: Mapping[int, Mapping[str, str]]) -> Check:
    rows = ask("SELECT job_id, custom_id, reason FROM prompts WHERE status = 'dead'")
    dead = {(job, name): reason or "" for job, name, reason in rows}
    wanted = {(job, name): reason for job, names in expected.items() for name, reason in names.items()}
    innocent = [f"{name} of job {job} ({dead[job, name]})" for job, name in dead.keys() - wanted.keys()]
    alive = [f"{name} of job {job} lives" for job, name in wanted.keys() - dead.keys()]
    misjudged = [f"{key}: {dead[key]!r}" for key in wanted.keys() & dead.keys() if wanted[key] not in dead[key]]
    what = "no innocent prompt is dead"
    return _check(
        what if not wanted else f"{what}; the {len(wanted)} guilty are, each with its reason",
        innocent + alive + misjudged,
    )


def _cancelled_as_expected(ask: Ask, allowed: Collection[int]) -> Check:
    rows = ask("SELECT job_id, custom_id FROM prompts WHERE status = 'cancelled'")
    violations = (f"{name} of job {job}" for job, name in rows if job not in allowed)
    return _check("nothing is cancelled that nobody cancelled", violations)


def _job_statuses(ask: Ask, acknowledged: Acknowledged, allowed: Collection[str]) -> Check:
    statuses: dict[int, str] = dict(ask("SELECT id, status FROM jobs"))
    violations = [f"job {job} is {statuses.get(job)}" for job in acknowledged if statuses.get(job) not in allowed]
    violations += [
        f"job {job} ({statuses[job]}) was never acknowledged" for job in statuses.keys() - acknowledged.keys()
    ]
    return _check(f"the jobs are {' or '.join(sorted(allowed))}, and no others are there", violations)


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
    violations = [
        f"batch {batch}: {name} {one}, counted {counted[batch][name]}"
        for batch, *counters in ask(f"SELECT id, {', '.join(names)} FROM batches")
        for name, one in zip(names, counters, strict=True)
        if int(one) != int(counted[batch][name])
    ]
    return _check("the counters equal the rows", violations)


def _scores(ask: Ask, unscored: Collection[int]) -> Check:
    """Nothing is excused from its score but the texts of a job without a classifier, and what the row allows."""
    rows = ask("SELECT o.id, o.job_id, o.safety, j.safety, count(s.output_id) FROM outputs o "
               "JOIN jobs j ON j.id = o.job_id LEFT JOIN scores s ON s.output_id = o.id AND s.revision = 0 "
               "GROUP BY o.id, o.job_id, o.safety, j.safety "
               "HAVING NOT (o.safety = 'scored' AND j.safety <> 'none' AND count(s.output_id) = 1)")  # fmt: skip
    violations = (
        f"output {number} of job {job}: {safety}, {found} scores"
        for number, job, safety, classifier, found in rows
        if found or not (safety == classifier == "none" or (safety == "unscored" and job in unscored))
    )
    return _check("one score for each output", violations)


def _review_queue(ask: Ask) -> Check:
    """Nobody decides anything here: what is flagged waits for a person, and nothing else is in the queue."""
    rows = ask("SELECT o.id, o.job_id, o.flagged, r.state, r.job_id, r.flagged FROM outputs o "
               "LEFT JOIN reviews r ON r.output_id = o.id WHERE o.flagged OR r.output_id IS NOT NULL")  # fmt: skip
    violations = [
        f"output {number} of job {job}: {'flagged' if flagged else 'not flagged'}, {state or 'absent'} in the queue"
        for number, job, flagged, state, theirs, copied in rows
        if not (flagged and copied and state == "pending" and theirs == job)
    ]
    lost = ask("SELECT output_id FROM reviews WHERE output_id NOT IN (SELECT id FROM outputs)")
    violations += [f"output {row[0]}, which is not there" for row in lost]
    return _check("the review queue holds every flagged output, and no other", violations)


def _leases(ask: Ask, sqlite: bool, seconds: float) -> Check:
    clock = "((julianday('now') - 2440587.5) * 86400.0)" if sqlite else "extract(epoch FROM clock_timestamp())"
    rows = ask(f"SELECT id, {clock} - lease_until FROM batches WHERE lease_until IS NOT NULL")
    violations = (f"batch {number}: over for {float(late):.1f} s" for number, late in rows if float(late) > seconds)
    return _check("no lease is older than twice its length", violations)


def _same_texts(ask: Ask) -> Check:
    rows = ask("SELECT d.job, p.custom_id, o.sample_index FROM disturbed d "
               "JOIN prompts p ON p.job_id = d.job JOIN outputs o ON o.prompt_id = p.id "
               "LEFT JOIN undisturbed u ON u.run = d.run AND u.custom_id = p.custom_id AND u.sample = o.sample_index "
               "WHERE u.text IS NULL OR o.text IS NULL OR u.text <> o.text")  # fmt: skip
    violations = (f"sample {sample} of {name} of job {job}" for job, name, sample in rows)
    return _check("each text equals the undisturbed run's", violations)


def texts_of(ask: Ask, job: int) -> dict[Key, str]:
    """The stored texts of a job."""
    rows = ask("SELECT p.custom_id, o.sample_index, o.text FROM outputs o JOIN prompts p ON p.id = o.prompt_id "
               "WHERE p.job_id = ?", job)  # fmt: skip
    return {(custom_id, sample): text for custom_id, sample, text in rows}
