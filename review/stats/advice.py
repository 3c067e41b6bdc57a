"""Threshold advice: how good the flag would be with another threshold for one label, judged by the decisions so far.

Pure statistics of counts (`db.insights.advice`). What is judged is the whole policy with only this label's threshold
changed, because that is what applying it (reflag) would do.

How it is estimated. *Unfit* is a text that was rejected or edited. The texts of a job are divided into

- those flagged now, some of them decided. The queue hands them out by score, so they are grouped in bands of similar
  score, and within a band the decided ones represent the others (post-stratification); a band without any decision is
  assumed to be like the one above it, with an interval from none to all;
- those not flagged now, known only from the ones drawn at random for an audit, each weighted by the inverse of its
  probability of being drawn (Hansen and Hurwitz 1943, Annals of Mathematical Statistics 14:333-362, as a ratio);
- those that were flagged when they were decided and no longer are: each counts as itself.

Each part has a Wilson interval; `intervals.total` and `intervals.fraction` combine them. Without audits nothing is
known about unflagged texts, and the answer is None, never a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from db.insights.advice import BINS, Evidence, Judged, Texts
from review.stats.intervals import NOTHING, Estimate, effective, fraction, share_of, total, wilson

GRID = tuple(step / 20 for step in range(1, 20))
BAND = 10  # hundredths of a score
FEW = 30
"""Under so many judged texts a share is not told as a figure of its own, only with its interval."""

Side = Callable[[Texts | Judged], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The flag with one threshold. Numbers of texts are estimates where the job is sampled."""

    threshold: float
    is_current: bool
    flags: float  # texts it flags
    adds: float  # of those, the ones not flagged now
    drops: float  # texts that are flagged now and would not be
    decided: int  # decided texts among those it flags
    precision: Estimate | None  # unfit among those it flags; None = unknown
    recall: Estimate | None  # the share of unfit texts that it flags; None = unknown

    @property
    def few_decided(self) -> bool:
        """Whether precision rests on a handful of texts."""
        return self.decided < min(FEW, self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the advice is based on."""

    flagged: float
    flagged_decided: int
    unflagged: float
    audited: int

    @property
    def few_audited(self) -> bool:
        """Whether recall rests on a handful: what the flag misses is known from the audited texts alone."""
        return self.audited < min(FEW, self.unflagged)

    @property
    def few_decided(self) -> bool:
        """Whether precision rests on a handful."""
        return self.flagged_decided < min(FEW, self.flagged)


def basis(evidence: Evidence) -> Basis:
    """How many texts were reviewed, of how many."""
    drawn = [judged for judged in evidence.judged if judged.drawn and not judged.flagged]
    return Basis(
        flagged=sum(texts.number for texts in evidence.texts if texts.flagged),
        flagged_decided=sum(judged.number for judged in evidence.judged if judged.flagged),
        unflagged=sum(texts.number for texts in evidence.texts if not texts.flagged),
        audited=sum(judged.number for judged in drawn),
    )


def advise(evidence: Evidence, current: float, others: Iterable[float] = ()) -> tuple[Advice, ...]:
    """The advice for every threshold of the grid, the current one and `others`, in ascending order."""
    thresholds = {round(threshold, 4) for threshold in (*GRID, *others)} | {round(current, 4)}
    return tuple(_at(evidence, threshold, current) for threshold in sorted(thresholds))


def _at(evidence: Evidence, threshold: float, current: float) -> Advice:
    over = _over(threshold, round(current, 4))
    texts = evidence.texts
    return Advice(
        threshold=threshold,
        is_current=threshold == round(current, 4),
        flags=sum(t.number for t in texts if over(t)),
        adds=sum(t.number for t in texts if over(t) and not t.flagged),
        drops=sum(t.number for t in texts if t.flagged and not over(t)),
        decided=sum(j.number for j in evidence.judged if over(j)),
        precision=_precision(evidence, over),
        recall=_recall(evidence, over),
    )


def _over(threshold: float, current: float) -> Side:
    """Whether a policy with that threshold flags texts, given what the current one does."""
    edge = round(threshold * BINS)

    def reaches(cell: Texts | Judged) -> bool:
        return cell.other_reasons or (cell.score_bin is not None and cell.score_bin >= edge)

    if threshold == current:
        return lambda cell: cell.flagged
    if threshold < current:
        return lambda cell: cell.flagged or reaches(cell)
    return lambda cell: cell.flagged and reaches(cell)


def _precision(evidence: Evidence, over: Side) -> Estimate | None:
    """The share of unfit texts among those on that side."""
    flagged = _flagged(evidence, over)
    unflagged = _unflagged_over(evidence, over)
    number = sum(cell.number for cell in evidence.texts if over(cell))
    if flagged is None or unflagged is None or not number:
        return None
    unfit = total([*flagged, *unflagged])
    return Estimate(unfit.value / number, unfit.low / number, unfit.high / number).at_most(1.0)


def _unflagged_over(evidence: Evidence, over: Side) -> list[Estimate] | None:
    """The unfit among texts that would newly be flagged; None where none was reviewed."""
    total_over = sum(cell.number for cell in evidence.texts if over(cell) and not cell.flagged)
    here = [cell for cell in evidence.judged if over(cell) and not cell.flagged]
    certain = [cell for cell in here if not cell.drawn]
    left = total_over - sum(cell.number for cell in certain)
    known = _exactly(certain)
    if left < 0.5:
        return [known]
    drawn = [cell for cell in here if cell.drawn]
    if not drawn:
        return None
    share = _weight(cell for cell in drawn if cell.unfit) / _weight(drawn)
    return [known, wilson(share, effective(_weight(drawn), sum(cell.squares for cell in drawn))).times(left)]


def _recall(evidence: Evidence, over: Side) -> Estimate | None:
    """The share of all unfit texts that lies on that side."""
    caught, missed = _flagged(evidence, over), _flagged(evidence, lambda cell: not over(cell))
    audit = _audit(evidence, over)
    if caught is None or missed is None or audit is None:
        return None
    return fraction(total([*caught, audit.over]), total([*missed, audit.under]), audit.covary)


@dataclass(frozen=True, slots=True)
class _Audit:
    """The unfit among texts not flagged now, on either side of a threshold."""

    over: Estimate
    under: Estimate
    correlation: float

    def covary(self, one: float, other: float) -> float:
        # One draw falls on one side only, so the two correlate negatively (Zou 2007, Psychological Methods 12:399).
        spread = (self.over.high - self.over.low) / 2 * (self.under.high - self.under.low) / 2
        return -2 * self.correlation * one * other * spread


def _audit(evidence: Evidence, over: Side) -> _Audit | None:
    unflagged = [cell for cell in evidence.judged if not cell.flagged]
    certain = [cell for cell in unflagged if not cell.drawn]
    drawn = [cell for cell in unflagged if cell.drawn]
    uncertain = sum(cell.number for cell in evidence.texts if not cell.flagged) - sum(cell.number for cell in certain)
    if uncertain >= 0.5 and not drawn:
        return None
    sides: list[Estimate] = []
    shares: list[float] = []
    for side in (over, lambda cell: not over(cell)):
        known = _exactly(cell for cell in certain if side(cell))
        share = _weight(cell for cell in drawn if cell.unfit and side(cell)) / (_weight(drawn) or 1.0)
        room = sum(cell.number for cell in evidence.texts if not cell.flagged and side(cell))
        trials = effective(_weight(drawn), sum(cell.squares for cell in drawn))
        estimated = wilson(share, trials).times(max(uncertain, 0.0)).at_most(room) if drawn and room else NOTHING
        shares.append(share)
        sides.append(total([known, estimated]))
    return _Audit(sides[0], sides[1], _correlation(*shares))


def _correlation(one: float, other: float) -> float:
    """Of two shares of the same draws (the multinomial distribution's)."""
    if not 0 < one < 1 or not 0 < other < 1:
        return 0.0
    return -sqrt(one * other / ((1 - one) * (1 - other)))


def _flagged(evidence: Evidence, side: Side) -> list[Estimate] | None:
    """The unfit among texts flagged now that lie on that side; None where none was decided."""
    bands = _bands(
        [cell for cell in evidence.texts if cell.flagged and side(cell)],
        [cell for cell in evidence.judged if cell.flagged and side(cell)],
    )
    if bands and not any(seen for _, seen, _ in bands):
        return None
    share = next((unfit / seen for _, seen, unfit in bands if seen), 0.0)
    estimates = []
    for texts, seen, unfit in bands:
        if seen:
            share = unfit / seen
            estimates.append(share_of(unfit, seen, texts).times(max(texts, seen)))
        else:  # like its neighbour, for want of better; but anything is possible
            estimates.append(Estimate(share, 0.0, 1.0).times(texts))
    return estimates


def _bands(texts: Sequence[Texts], judged: Sequence[Judged]) -> list[tuple[float, int, int]]:
    """Texts, decided and unfit, by bands of similar score, the highest first."""
    bands: dict[int, list[float]] = {}
    for text in texts:
        bands.setdefault(_band(text), [0.0, 0, 0])[0] += text.number
    for cell in judged:
        band = bands.setdefault(_band(cell), [0.0, 0, 0])
        band[1] += cell.number
        band[2] += cell.number if cell.unfit else 0
    return [(number, int(seen), int(unfit)) for _, (number, seen, unfit) in sorted(bands.items(), reverse=True)]


def _band(cell: Texts | Judged) -> int:
    """Texts flagged by other labels or the blocklist form a band of their own, above the others."""
    return BINS if cell.other_reasons or cell.score_bin is None else cell.score_bin // BAND


def _exactly(cells: Iterable[Judged]) -> Estimate:
    number = float(sum(cell.number for cell in cells if cell.unfit))
    return Estimate(number, number, number)


def _weight(cells: Iterable[Judged]) -> float:
    return sum(cell.weight for cell in cells)
