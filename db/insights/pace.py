"""How fast a job goes and when it will be over: the one estimate that every command, page and report shows.

Writing and scoring each have a rate of their own, over a recent window of the time they were at work. Pauses, restarts
and waits for a worker are no work, nor is a scorer's wait for texts; pauses to come are not foreseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10, sqrt

from common.times import duration_range
from contract.policy import NO_SAFETY
from db.insights.arrivals import Arrivals, Saved, arrivals, sampled_times
from db.jobs.status import JobSnapshot
from db.session.engine import Database

RECENT_SECONDS = 300.0
FEWEST_SAVES = 4
FEWEST_TEXTS = 20
"""With less there is no rate to speak of."""
LEAST_DOUBT = 0.1
"""Rates drift with the prompts' lengths and with the machine's other work: no range is narrower, each way."""
MOST_DOUBT = 0.9
PAUSE_SECONDS = 2.0
LONG_PAUSE_SECONDS = 60.0
"""No shorter one is noticed in an average over a whole job, which few moments of it have to tell."""
PAUSE_TIMES = 4.0
"""A gap that many times as long as the usual long ones is a pause."""
USUALLY_LONG = 0.9
"""The quantile of the gaps that counts as usual and long: texts that are begun together are saved in bursts."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is to be done of a job yet, in texts."""

    to_write: int
    to_score: int
    last_batch: int = 0  # the texts of the batch that is written last: none of them is scored before it is complete
    in_hand: int = 0  # the texts of all batches that are being written: at most these are scored after the last


@dataclass(frozen=True, slots=True)
class Range:
    """Seconds left: in about 8 of 10 cases between the ends, pauses to come not counted."""

    low: float
    likely: float
    high: float

    def __str__(self) -> str:
        return duration_range(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job goes. Tokens are those of its texts."""

    tokens_per_second: float  # at present: 0 where it waits or writes no more; on average where it is over
    average: float  # over the time it was worked on
    left: Range | None = None

    @property
    def time_left(self) -> str:
        """In words; empty where nothing is known."""
        return "" if self.left is None else str(self.left)


def read_pace(database: Database, job: JobSnapshot, *, waiting: bool = False) -> Pace:
    """How fast a job goes.

    Args:
        waiting: it waits for something, so that nothing can be said of its end.
    """
    if job.started_at is None or not job.generated:
        return Pace(0.0, 0.0)
    with database.read() as connection:
        times = sampled_times(connection, job.id)
        seen = Arrivals() if job.finished or waiting else arrivals(connection, job.id)
    worked = worked_seconds(times, job.started_at, job.finished_at or job.now)
    average = job.generated_tokens / max(worked, 1e-3)
    if job.finished:
        return Pace(average, average)
    if waiting:
        return Pace(0.0, average)
    left = Left(
        to_write=job.texts_to_write,
        to_score=0 if job.safety == NO_SAFETY else job.texts_to_score,
        last_batch=job.batch_texts,
        in_hand=job.batch_texts * max(job.batches_writing, 1),
    )
    present = tokens_per_second(seen, job.now) if job.texts_to_write else 0.0
    return Pace(average if present is None else present, average, time_left(seen, left, job.now))


class FollowedPace:
    """The pace of a job that is followed: read again every few seconds, not at each look."""

    EVERY_SECONDS = 2.0

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: tuple[bool, float, Pace] | None = None

    def look(self, job: JobSnapshot, *, waiting: bool) -> Pace:
        before = self._read
        if before is None or before[0] != waiting or not 0 <= job.now - before[1] < self.EVERY_SECONDS:
            self._read = before = (waiting, job.now, read_pace(self._database, job, waiting=waiting))
        return before[2]


def tokens_per_second(seen: Arrivals, now: float) -> float | None:
    """Tokens a second over the recent window; 0 where nothing came for a while, None where too little came to tell."""
    if not seen.texts:
        return None
    stage = _stage(seen.texts, now)
    patience = LONG_PAUSE_SECONDS if stage is None else stage.pause
    if now - seen.texts[-1].at > patience:
        return 0.0
    return None if stage is None else stage.tokens / stage.seconds


def time_left(seen: Arrivals, left: Left, now: float) -> Range | None:
    """When the last text will be written and scored; None where a stage has work left and no rate yet.

    Both stages go on beside each other, but a batch is scored when all of it is written: so the last ones' scores come
    after the last text, however fast the scorer is.
    """
    writing = _stage(seen.texts, now) if left.to_write > 0 else None
    scoring = _stage(seen.scores, now) if left.to_score > 0 else None
    if (left.to_write > 0 and writing is None) or (left.to_score > 0 and scoring is None):
        return None
    write = Range(0.0, 0.0, 0.0) if writing is None else writing.left(left.to_write)
    if scoring is None:
        return None if writing is None else write
    score = scoring.left(left.to_score)
    if writing is None:
        return score
    part = score.high / left.to_score, score.low / left.to_score
    fewest, most = min(left.last_batch, left.to_score), min(left.in_hand, left.to_score)
    return Range(
        max(write.low + fewest * part[1], score.low),
        max(write.likely + (fewest + most) / 2 * scoring.seconds / scoring.count, score.likely),
        max(write.high + most * part[0], score.high),
    )


@dataclass(frozen=True, slots=True)
class _Stage:
    """One stage over the recent window of its own work."""

    count: int
    tokens: int
    seconds: float
    saves: int
    spread: float  # standard deviation of `count`, were the window seen again
    pause: float  # seconds; a longer gap is none of its work
    since: float  # seconds since its last save, as far as they are work

    def left(self, texts: int) -> Range:
        """Seconds for that many more.

        The rate is a ratio of sums, whose spread the residuals tell (Cochran 1977, Sampling Techniques, chapter 6);
        what is to come varies as well, the less the more it is (an interval for a future mean; Hahn and Meeker 1991,
        Statistical Intervals, section 4.7).
        """
        student = 1.2816 * (1 + 1 / (self.saves - 1))  # t for 80 of 100, from 3 degrees of freedom on
        doubt = student * self.spread / self.count * sqrt(1 + self.count / texts)
        # A rate that was seen for seconds says less about hours.
        least = LEAST_DOUBT * (1 + log10(max(texts / self.count, 1.0)))
        doubt = min(max(doubt, least), MOST_DOUBT)
        likely, between = texts * self.seconds / self.count, self.seconds / self.saves
        return Range(
            max(likely / (1 + doubt) - self.since, 0.0),
            max(likely - self.since, between / 2),
            likely / (1 - doubt) + between - self.since,  # the last one is saved together with others
        )


def _stage(saves: Sequence[Saved], now: float) -> _Stage | None:
    """A stage's recent work; None where there is too little of it to tell a rate."""
    gaps = [this.at - max(before.at, this.ready) for before, this in pairwise(saves)]
    gaps = [max(gap, 0.0) for gap in gaps]  # clocks are set back
    if len(gaps) < FEWEST_SAVES - 1:
        return None
    work, pause = _without_pauses(gaps, PAUSE_SECONDS)
    recent: list[tuple[float, Saved]] = []
    seconds = 0.0
    for gap, save in zip(reversed(work), reversed(saves), strict=False):
        if seconds >= RECENT_SECONDS and len(recent) >= FEWEST_SAVES:
            break
        recent.append((gap, save))
        seconds += gap
    count = sum(save.count for _, save in recent)
    if count < FEWEST_TEXTS or seconds <= 0:
        return None
    rate = count / seconds
    return _Stage(
        count=count,
        tokens=sum(save.tokens for _, save in recent),
        seconds=seconds,
        saves=len(recent),
        spread=sqrt(sum((save.count - rate * gap) ** 2 for gap, save in recent)),
        pause=pause,
        since=min(max(now - saves[-1].at, 0.0), seconds / len(recent)),
    )


def _without_pauses(gaps: Sequence[float], least: float) -> tuple[list[float], float]:
    """The gaps, each pause replaced by what the others last on average, and from how many seconds on it is a pause."""
    usual = sorted(gaps)[int(USUALLY_LONG * (len(gaps) - 1))]
    pause = max(PAUSE_TIMES * usual, least)
    others = [gap for gap in gaps if gap <= pause]
    mean = sum(others) / len(others)
    return [gap if gap <= pause else mean for gap in gaps], pause


def worked_seconds(times: Iterable[float], started: float, ended: float) -> float:
    """How long a job was worked on between these, as far as some moments of it tell, in which something was stored."""
    moments = [started, *sorted(at for at in times if started < at < ended), ended]
    gaps = [max(after - before, 0.0) for before, after in pairwise(moments)]
    return sum(_without_pauses(gaps, LONG_PAUSE_SECONDS)[0])
