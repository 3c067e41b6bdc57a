"""How fast a job goes, and the range in which it ends: on a clock passed in, with stops, retries and slow scorers."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from db.insights.arrivals import Arrivals, Save
from db.insights.pace import MIN_ERROR, Remaining, TimeLeft, estimate_time_left, tokens_per_second, worked_seconds

BATCH, SLOTS, GROUP = 64, 16, 32
NIGHT = 8 * 3600.0


@dataclass
class Worked:
    """A made-up job, worked off: when what was stored, and when nothing was done."""

    texts: list[Save] = field(default_factory=list)
    scores: list[Save] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)

    @property
    def start(self) -> float:
        return self.texts[0].at

    @property
    def end(self) -> float:
        return max(self.texts[-1].at, self.scores[-1].at)

    def seen(self, now: float) -> Arrivals:
        """What can be known of it then."""
        return Arrivals(tuple(s for s in self.texts if s.at <= now), tuple(s for s in self.scores if s.at <= now))

    def remaining(self, now: float) -> Remaining:
        written = sum(save.count for save in self.texts if save.at <= now)
        scored = sum(save.count for save in self.scores if save.at <= now)
        total = sum(save.count for save in self.texts)
        to_write = total - written
        return Remaining(
            to_write, total - scored, min(BATCH, to_write and BATCH), min(2 * BATCH, to_write and 2 * BATCH)
        )

    def truth(self, now: float) -> float:
        """Seconds left at that moment, without the pauses that nobody can foresee."""
        return self.end - now - sum(end - start for start, end in self.pauses if start >= now)

    def tenths(self) -> Iterator[float]:
        """The moments at which each tenth of its own work was done."""
        work = self.end - self.start - sum(end - start for start, end in self.pauses)
        for tenth in range(1, 10):
            at = self.start + work * tenth / 10
            for start, end in self.pauses:
                at += end - start if at >= start else 0.0
            yield at


def _write(job: Worked, texts: int, start: float, second: float, dice: random.Random, stops: list[float]) -> None:
    """Slots that take up a text each as soon as one is finished; finished texts are saved by the second."""
    slots = [start] * SLOTS
    heapq.heapify(slots)
    finished: list[tuple[float, int]] = []
    for _ in range(texts):
        tokens = round(min(dice.lognormvariate(4.0, 0.5), 256))
        heapq.heappush(slots, end := heapq.heappop(slots) + tokens * second * SLOTS)
        finished.append((end, tokens))
    waiting: list[tuple[float, int]] = []
    for at, tokens in sorted(finished):
        waiting.append((at, tokens))
        if at - waiting[0][0] >= 1.0 or len(waiting) == GROUP:
            job.texts.append(Save(at, len(waiting), sum(t for _, t in waiting)))
            waiting = []
    if waiting:
        job.texts.append(Save(waiting[-1][0], len(waiting), sum(t for _, t in waiting)))
    for stop in stops:  # what comes after a stop comes later, and what was begun is begun again
        _stop(job, start + (job.texts[-1].at - start) * stop, dice.uniform(20, 1500))


def _stop(job: Worked, at: float, seconds: float) -> None:
    job.texts = [save if save.at <= at else Save(save.at + seconds, save.count, save.tokens) for save in job.texts]
    job.pauses.append((at, at + seconds))


def _score(job: Worked, second: float, dice: random.Random) -> None:
    """One scorer; a batch is scored when all of it is written."""
    at, written, batch = 0.0, 0, 0
    for save in job.texts:
        written += save.count
        last = save is job.texts[-1]
        while written - batch >= BATCH or (last and batch < written):
            size = min(BATCH, written - batch)
            batch += size
            at = max(at, save.at + 0.2)
            for first in range(0, size, GROUP):
                count = min(GROUP, size - first)
                at += count * second * dice.uniform(0.8, 1.25)
                for start, end in job.pauses:
                    at += end - start if start <= at < end else 0.0
                job.scores.append(Save(at, count, ready=save.at))


def _job(seed: int, *, texts: int = 3000, scorer: float = 0.1, stops: int = 0, retry: bool = False) -> Worked:
    """A job whose scorer needs that share of the time that writing needs."""
    dice = random.Random(seed)
    job = Worked()
    second = 10 ** dice.uniform(-3.5, -2.0)  # 100 to 3,000 tokens a second
    places = sorted(dice.uniform(0.1, 0.9) for _ in range(stops))
    _write(job, texts, 0.0, second, dice, places)
    if retry:  # a tenth of them died, and is tried again in the morning
        again, night = Worked(), job.texts[-1].at
        _write(again, texts // 10, night + NIGHT, second, dice, [])
        job.pauses.append((night, night + NIGHT))
        job.texts += again.texts
    _score(job, second * 60 * scorer, dice)
    return job


JOBS = {
    "plain": _job,
    "stopped": partial(_job, stops=2),
    "tried again": partial(_job, retry=True),
    "slow scorer": partial(_job, scorer=3.0),
    "slow scorer, stopped": partial(_job, scorer=2.0, stops=1),
    "as fast a scorer": partial(_job, scorer=0.9),
    "short": partial(_job, texts=600),
}


def _estimates(job: Worked) -> list[TimeLeft | None]:
    """What is said of it at every tenth of its own work."""
    return [estimate_time_left(job.seen(now), job.remaining(now), now) for now in job.tenths()]


@pytest.mark.parametrize("kind", JOBS)
def test_the_truth_lies_in_the_range_8_times_in_10_at_every_tenth(kind: str) -> None:
    jobs = [JOBS[kind](seed) for seed in range(40)]
    held, told = [0] * 9, [0] * 9
    for job in jobs:
        for tenth, (now, estimate) in enumerate(zip(job.tenths(), _estimates(job), strict=True)):
            if estimate is not None:
                told[tenth] += 1
                held[tenth] += estimate.low <= job.truth(now) <= estimate.high
                assert estimate.low <= estimate.likely <= estimate.high
    assert all(number >= 0.8 * len(jobs) for number in told[2:])  # a short one has too little to tell before
    assert all(right >= 0.8 * number for right, number in zip(held, told, strict=True))


@pytest.mark.parametrize("kind", [kind for kind in JOBS if kind != "short"])
def test_a_range_narrows_as_the_job_goes_on(kind: str) -> None:
    """It tells more than nothing, too: at half time the ends are less than a quarter of the truth apart."""
    widths = [0.0] * 9
    for job in (JOBS[kind](seed) for seed in range(20)):
        for tenth, estimate in enumerate(_estimates(job)):
            assert estimate is not None
            widths[tenth] += (estimate.high - estimate.low) / job.truth(job.start)
    assert widths == sorted(widths, reverse=True)
    assert widths[4] / 20 < 0.25 / 2


def _even(saves: int, every: float = 1.0, count: int = 10, start: float = 0.0, ready: float = 0.0) -> list[Save]:
    return [Save(start + every * i, count, 10 * count, ready) for i in range(1, saves + 1)]


def _seen(texts: list[Save], scores: list[Save] | None = None) -> Arrivals:
    return Arrivals(tuple(texts), tuple(scores or []))


def test_an_even_rate_gives_the_narrowest_range() -> None:
    found = estimate_time_left(_seen(_even(100)), Remaining(to_write=900, to_score=0), now=100.0)
    assert found is not None
    assert (found.low, found.likely) == pytest.approx((90 / (1 + MIN_ERROR), 90.0))
    assert found.high == pytest.approx(90 / (1 - MIN_ERROR) + 1)


def test_an_uneven_rate_widens_the_range() -> None:
    bursts = [Save(save.at, 1 if i % 2 else 19) for i, save in enumerate(_even(20))]
    even, uneven = (
        estimate_time_left(_seen(texts), Remaining(to_write=200, to_score=0), 20.0) for texts in (_even(20), bursts)
    )
    assert even is not None and uneven is not None
    assert uneven.high - uneven.low > 1.5 * (even.high - even.low)


def test_a_job_that_writes_a_text_a_minute_has_an_estimate_too() -> None:
    estimate = estimate_time_left(_seen(_even(60, every=60.0, count=1)), Remaining(to_write=60, to_score=0), 3600.0)
    assert estimate is not None and estimate.low <= 3600 <= estimate.high < 4200


def test_nothing_is_said_without_a_rate_or_without_work() -> None:
    seen = _seen(_even(100))
    assert estimate_time_left(_seen([]), Remaining(10, 10), 100.0) is None
    assert estimate_time_left(_seen(_even(2)), Remaining(10, 0), 2.0) is None
    assert estimate_time_left(seen, Remaining(to_write=10, to_score=10), 100.0) is None  # nothing was scored yet
    assert estimate_time_left(seen, Remaining(0, 0), 100.0) is None


def test_the_last_batch_is_scored_after_the_last_text() -> None:
    scores = [Save(at, 10, ready=at - 2) for at in (21.0, 42.0, 63.0, 84.0)]
    found = estimate_time_left(
        _seen(_even(100), scores), Remaining(to_write=10, to_score=200, last_batch=200, in_progress=200), 100.0
    )
    assert found is not None and found.low > 30  # 5 texts a second are scored, and the last was there only then


def test_a_scorers_wait_for_texts_is_none_of_its_work() -> None:
    """Each batch takes 280 s to write and 70 s to score; the last one was written just now."""
    scores = [Save(280.0 * batch + 8.75 * i, 32, ready=280.0 * batch) for batch in range(1, 4) for i in range(1, 9)]
    found = estimate_time_left(_seen(_even(112, every=10.0), scores), Remaining(0, 256), 1120.0)
    assert found is not None
    assert found.low <= 70 <= found.high < 100


def test_a_pause_of_twelve_minutes_is_no_work() -> None:
    """Six minutes are left, as at the rate before and since."""
    texts = _even(100) + _even(10, start=820.0)
    found = estimate_time_left(_seen(texts), Remaining(3600, 0), 830.0)
    assert found is not None
    assert found.low <= 360 <= found.high < 460


def test_a_retry_much_later_goes_at_the_rate_of_before() -> None:
    texts = _even(100) + _even(1, start=NIGHT)
    found = estimate_time_left(_seen(texts), Remaining(100, 0), NIGHT + 1)
    assert found is not None and found.low <= 10 <= found.high < 15


def test_a_job_that_was_stopped_overnight_writes_nothing_at_present() -> None:
    seen = _seen(_even(100))
    assert tokens_per_second(seen, 100.5) == pytest.approx(100.0)
    assert tokens_per_second(seen, NIGHT) == 0.0
    assert tokens_per_second(_seen(_even(2)), 2.5) is None  # too few to tell
    assert tokens_per_second(_seen(_even(2)), NIGHT) == 0.0
    assert tokens_per_second(_seen([]), NIGHT) is None


def test_a_range_whose_ends_read_alike_is_said_once() -> None:
    assert str(TimeLeft(170, 180, 200)) == "about 3 min"
    assert str(TimeLeft(170, 180, 310)) == "3 to 5 min"


def test_the_estimate_lies_in_its_range_when_less_than_one_save_is_left() -> None:
    texts = _even(20, every=10.0, count=32)
    for now in (200.0, 205.0, 210.0, 900.0):
        estimate = estimate_time_left(_seen(texts), Remaining(to_write=1, to_score=0), now)
        assert estimate is not None and 0 <= estimate.low <= estimate.likely <= estimate.high


def test_a_clock_that_was_set_back_breaks_nothing() -> None:
    texts = [*_even(100), Save(700.0, 10, 100)]
    found = estimate_time_left(_seen(texts), Remaining(100, 0), 101.0)
    assert found is not None and 5 < found.likely < 15
    assert tokens_per_second(_seen(texts), 101.0) == pytest.approx(100.0)


def test_pauses_are_left_out_of_the_time_a_job_was_worked_on() -> None:
    times = [float(at) for at in range(1, 100)] + [NIGHT + at for at in range(100)]
    assert worked_seconds(times, 0.0, NIGHT + 100) == pytest.approx(200, rel=0.05)
    assert worked_seconds([10.0, 60.0], 0.0, 70.0) == 70.0
    assert worked_seconds([], 0.0, 50.0) == 50.0
