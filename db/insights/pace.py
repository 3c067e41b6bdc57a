"""How fast a job runs and when it will be done: the one estimate that every command, page and report shows.

Writing and scoring each have a rate of their own, over a recent window of the time they were at work. Pauses, restarts
and waits for a worker do not count as work, nor does a scorer's wait for texts. Pauses to come are not foreseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10, sqrt

from common.times import duration_range
from contract.policy import NO_SAFETY
from db.insights.arrivals import Arrivals, Save, read_arrivals, sampled_times
from db.jobs.status import JobSnapshot
from db.session.engine import Database

WINDOW_SECONDS = 300.0
MIN_SAVES = 4
MIN_TEXTS = 20
"""With less there is no rate to speak of."""
MIN_ERROR = 0.06
"""Relative. Rates drift with the prompts' lengths and with the machine's other work: no range is narrower, each way."""
MAX_ERROR = 0.9
MIN_PAUSE_SECONDS = 2.0
MIN_SAMPLED_PAUSE_SECONDS = 60.0
"""Where only some moments of a whole job are known, shorter pauses cannot be told from work."""
PAUSE_FACTOR = 4.0
"""A gap that many times as long as an ordinary long one is a pause."""
ORDINARY_QUANTILE = 0.9
"""The quantile of the gaps that counts as ordinary and long: texts that are begun together are saved in bursts."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """The work that a job still has, in texts."""

    to_write: int
    to_score: int  # those that are to be written included
    last_batch: int = 0  # the texts of the batch that is written last: none of them is scored before it is complete
    in_progress: int = 0  # the texts of all batches that are being written: at most these are scored after the last


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds until a job is done: in about 8 of 10 cases between the ends, pauses to come not counted."""

    low: float
    likely: float
    high: float

    def __str__(self) -> str:
        return duration_range(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job runs. Tokens are those of its texts."""

    tokens_per_second: float  # at present: 0 where it waits or writes no more; the average where it has finished
    average: float  # tokens per second over the time it was worked on
    time_left: TimeLeft | None = None  # None where nothing can be said


def read_pace(database: Database, job: JobSnapshot, *, waiting: bool = False) -> Pace:
    """How fast a job runs.

    Args:
        waiting: it waits for something, so that nothing can be said of its end.
    """
    if job.started_at is None or not job.generated:
        return Pace(0.0, 0.0)
    with database.read() as connection:
        times = sampled_times(connection, job.id)
        arrivals = Arrivals() if job.finished or waiting else read_arrivals(connection, job.id)
    worked = worked_seconds(times, job.started_at, job.finished_at or job.now)
    average = job.generated_tokens / max(worked, 1e-3)
    if job.finished:
        return Pace(average, average)
    if waiting:
        return Pace(0.0, average)
    present = tokens_per_second(arrivals, job.now) if job.texts_to_write else 0.0
    time_left = estimate_time_left(arrivals, _remaining(job), job.now)
    return Pace(average if present is None else present, average, time_left)


def _remaining(job: JobSnapshot) -> Remaining:
    return Remaining(
        to_write=job.texts_to_write,
        to_score=0 if job.safety == NO_SAFETY else job.texts_to_score,
        last_batch=job.batch_texts,
        in_progress=job.batch_texts * max(job.batches_writing, 1),
    )


class FollowedPace:
    """The pace of a job that is followed: read again every few seconds, not at each look."""

    INTERVAL_SECONDS = 2.0

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pace = Pace(0.0, 0.0)
        self._read_at = float("-inf")
        self._waiting = False

    def look(self, job: JobSnapshot, *, waiting: bool) -> Pace:
        age = job.now - self._read_at  # below 0 after a step back of the clock
        if waiting != self._waiting or not 0 <= age < self.INTERVAL_SECONDS:
            self._pace = read_pace(self._database, job, waiting=waiting)
            self._read_at, self._waiting = job.now, waiting
        return self._pace


def tokens_per_second(arrivals: Arrivals, now: float) -> float | None:
    """Tokens a second over the recent window; 0 where nothing came for a while, None where too little came to tell."""
    if not arrivals.texts:
        return None
    writing = _recent_work(arrivals.texts, now)
    pause = MIN_SAMPLED_PAUSE_SECONDS if writing is None else writing.pause
    if now - arrivals.texts[-1].at > pause:
        return 0.0
    return None if writing is None else writing.tokens / writing.seconds


def estimate_time_left(arrivals: Arrivals, remaining: Remaining, now: float) -> TimeLeft | None:
    """When the last text will be written and scored; None where a stage has work left and no rate yet.

    Writing and scoring go on side by side, but a batch is scored when all of it is written: so however fast the scorer
    is, the last scores come after the last text.
    """
    writing = _recent_work(arrivals.texts, now) if remaining.to_write > 0 else None
    scoring = _recent_work(arrivals.scores, now) if remaining.to_score > 0 else None
    if (remaining.to_write > 0 and writing is None) or (remaining.to_score > 0 and scoring is None):
        return None
    write = None if writing is None else writing.time_for(remaining.to_write)
    if scoring is None:
        return write
    score = scoring.time_for(remaining.to_score)
    if write is None:
        return score
    fewest, most = (min(texts, remaining.to_score) for texts in (remaining.last_batch, remaining.in_progress))
    fastest, slowest = score.low / remaining.to_score, score.high / remaining.to_score
    return TimeLeft(
        max(write.low + fewest * fastest, score.low),
        max(write.likely + (fewest + most) / 2 * scoring.seconds / scoring.count, score.likely),
        max(write.high + most * slowest, score.high),
    )


@dataclass(frozen=True, slots=True)
class _RecentWork:
    """What one stage, writing or scoring, did within the window: the last minutes of its own work."""

    count: int  # texts
    tokens: int
    seconds: float
    saves: int
    deviation: float  # standard deviation of `count`, were the window seen again
    pause: float  # seconds; a longer gap between two saves does not count as work
    unsaved: float  # seconds of work since the last save

    def time_for(self, texts: int) -> TimeLeft:
        """How long that many more take.

        The rate is a ratio of sums, whose spread the residuals tell (Cochran 1977, Sampling Techniques, chapter 6);
        what is to come varies as well, the less the more it is (an interval for a future mean; Hahn and Meeker 1991,
        Statistical Intervals, section 4.7).
        """
        t_quantile = 1.2816 * (1 + 1 / (self.saves - 1))  # for 80 of 100, from 3 degrees of freedom on
        error = t_quantile * self.deviation / self.count * sqrt(1 + self.count / texts)
        # A rate that was seen for seconds says less about hours.
        least = MIN_ERROR * (1 + log10(max(texts / self.count, 1.0)))
        error = min(max(error, least), MAX_ERROR)
        work, one_save = texts * self.seconds / self.count, self.seconds / self.saves
        likely = max(work - self.unsaved, one_save / 2)
        latest = work / (1 - error) + one_save - self.unsaved  # the last text is saved together with others
        return TimeLeft(max(work / (1 + error) - self.unsaved, 0.0), likely, max(latest, likely))


def _recent_work(saves: Sequence[Save], now: float) -> _RecentWork | None:
    """The newest saves within the window; None where there are too few to tell a rate."""
    gaps = [this.at - max(before.at, this.ready) for before, this in pairwise(saves)]
    gaps = [max(gap, 0.0) for gap in gaps]  # clocks are set back
    if len(gaps) < MIN_SAVES - 1:
        return None
    gaps, pause = _without_pauses(gaps, MIN_PAUSE_SECONDS)
    recent: list[tuple[float, Save]] = []
    seconds, count = 0.0, 0
    for gap, save in zip(reversed(gaps), reversed(saves), strict=False):
        # A slow job's window is longer.
        if seconds >= WINDOW_SECONDS and len(recent) >= MIN_SAVES and count >= MIN_TEXTS:
            break
        recent.append((gap, save))
        seconds += gap
        count += save.count
    if count < MIN_TEXTS or seconds <= 0:
        return None
    rate = count / seconds
    return _RecentWork(
        count=count,
        tokens=sum(save.tokens for _, save in recent),
        seconds=seconds,
        saves=len(recent),
        deviation=sqrt(sum((save.count - rate * gap) ** 2 for gap, save in recent)),
        pause=pause,
        unsaved=min(max(now - saves[-1].at, 0.0), seconds / len(recent)),
    )


def _without_pauses(gaps: Sequence[float], min_pause: float) -> tuple[list[float], float]:
    """The gaps, each pause replaced by the mean of the others, and the length from which on a gap is a pause."""
    ordinary = sorted(gaps)[int(ORDINARY_QUANTILE * (len(gaps) - 1))]
    pause = max(PAUSE_FACTOR * ordinary, min_pause)
    work = [gap for gap in gaps if gap <= pause]
    mean = sum(work) / len(work)
    return [gap if gap <= pause else mean for gap in gaps], pause


def worked_seconds(times: Iterable[float], started: float, ended: float) -> float:
    """How long a job was worked on between these, as far as some moments tell at which it stored something."""
    moments = [started, *sorted(at for at in times if started < at < ended), ended]
    gaps = [max(after - before, 0.0) for before, after in pairwise(moments)]
    return sum(_without_pauses(gaps, MIN_SAMPLED_PAUSE_SECONDS)[0])
