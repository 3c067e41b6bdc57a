"""Threshold advice: figures worked out by hand, and intervals held against texts whose truth is known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from db.insights.advice import Evidence, Judged, Texts
from review.stats.advice import Advice, advise, basis
from review.stats.intervals import Estimate, effective, fraction, share_of, total, wilson


def _texts(place: int, number: float, *, flagged: bool, otherwise: bool = False) -> Texts:
    return Texts(score_bin=place, flagged=flagged, other_reasons=otherwise, number=number)


def _judged(place: int, number: int, *, unfit: bool, flagged: bool = True, drawn_of: float = 0) -> Judged:
    return Judged(
        score_bin=place, flagged=flagged, other_reasons=False, drawn=bool(drawn_of), unfit=unfit, number=number,
        weight=number * drawn_of, squares=number * drawn_of**2,
    )  # fmt: skip


def _evidence(texts: Sequence[Texts], judged: Sequence[Judged]) -> Evidence:
    number = int(sum(cell.number for cell in texts))
    return Evidence(counted=number, total=number, texts=tuple(texts), judged=tuple(judged))


def _at(evidence: Evidence, threshold: float, current: float = 0.7) -> Advice:
    return next(a for a in advise(evidence, current, (threshold,)) if a.threshold == threshold)


def test_wilson_gives_the_interval_of_the_textbooks() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263, and 0 of 20.
    found = wilson(81 / 263, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    found = wilson(0.0, 20)
    assert (found.low, round(found.high, 4)) == (0.0, 0.1611)


def test_a_whole_that_was_seen_leaves_nothing_uncertain() -> None:
    assert share_of(3, 10, 10) == Estimate(0.3, 0.3, 0.3)
    half, all_but = share_of(30, 100, 200), share_of(30, 100, 1e9)
    assert half.high - half.low < all_but.high - all_but.low


def test_unequal_weights_count_for_fewer_trials() -> None:
    assert effective(10.0, 10.0) == 10
    assert effective(11.0, 101.0) == pytest.approx(121 / 101)
    assert effective(0.0, 0.0) == 0


def test_a_sum_is_as_uncertain_as_its_parts_together() -> None:
    found = total([Estimate(10, 7, 14), Estimate(5, 1, 8)])
    assert found == Estimate(15, 10, 20)


def test_a_fraction_of_one_certain_total_is_monotone_in_the_other() -> None:
    found = fraction(Estimate(50, 50, 50), Estimate(50, 0, 150))
    assert found is not None
    assert (found.value, found.low, found.high) == (0.5, pytest.approx(0.25), pytest.approx(1.0))
    assert fraction(Estimate(0, 0, 0), Estimate(0, 0, 5)) is None


FLAGGED = _texts(80, 100, flagged=True)
CLEAN = _texts(10, 900, flagged=False)


def test_recall_is_unknown_without_audits_however_much_was_decided() -> None:
    evidence = _evidence([FLAGGED, CLEAN], [_judged(80, 60, unfit=True), _judged(80, 40, unfit=False)])
    found = advise(evidence, 0.7)
    assert all(advice.recall is None for advice in found)
    assert _at(evidence, 0.7).precision == Estimate(0.6, 0.6, 0.6)


def test_precision_is_wilsons_interval_of_the_decided_ones() -> None:
    evidence = _evidence(
        [_texts(80, 1e9, flagged=True), CLEAN], [_judged(80, 81, unfit=True), _judged(80, 182, unfit=False)]
    )
    found = _at(evidence, 0.7).precision
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_precision_is_unknown_where_nobody_looked() -> None:
    evidence = _evidence([FLAGGED, CLEAN], [])
    assert all(advice.precision is None and advice.recall is None for advice in advise(evidence, 0.7))


def test_a_higher_threshold_drops_and_a_lower_one_adds() -> None:
    evidence = _evidence([_texts(75, 30, flagged=True), FLAGGED, _texts(65, 40, flagged=False), CLEAN], [])
    assert [(a.flags, a.adds, a.drops) for a in (_at(evidence, t) for t in (0.6, 0.7, 0.8))] == [
        (170, 40, 0),
        (130, 0, 0),
        (100, 0, 30),
    ]


def test_what_other_labels_flag_stays_flagged_at_any_threshold() -> None:
    evidence = _evidence([_texts(5, 7, flagged=True, otherwise=True), FLAGGED, CLEAN], [])
    assert _at(evidence, 0.95).flags == 7


def test_recall_weighs_an_audited_text_for_all_it_stands_for() -> None:
    # All 100 flagged are decided, 60 unfit. Of 900 unflagged 90 were drawn, 9 unfit: about 90 are missed.
    judged = [
        _judged(80, 60, unfit=True),
        _judged(80, 40, unfit=False),
        _judged(10, 9, unfit=True, flagged=False, drawn_of=900),
        _judged(10, 81, unfit=False, flagged=False, drawn_of=900),
    ]
    found = _at(_evidence([FLAGGED, CLEAN], judged), 0.7).recall
    assert found is not None
    assert found.value == pytest.approx(60 / (60 + 90))
    missed = wilson(0.1, 90).times(900)  # the caught ones are certain, so the limits follow from the missed ones'
    assert found.low == pytest.approx(60 / (60 + missed.high), abs=1e-6)
    assert found.high == pytest.approx(60 / (60 + missed.low), abs=1e-6)


def test_a_few_clean_audits_do_not_make_recall_certain() -> None:
    judged = [_judged(80, 100, unfit=True), _judged(10, 3, unfit=False, flagged=False, drawn_of=900)]
    found = _at(_evidence([FLAGGED, CLEAN], judged), 0.7).recall
    assert found is not None
    assert found.value == 1.0
    assert found.low < 0.2  # half of 900 could be unfit


def test_a_decision_on_what_was_flagged_then_stands_for_itself_alone() -> None:
    # The threshold rose from 0.7 to 0.9: 10 decided texts at 0.8 are not flagged any more.
    texts = [_texts(95, 20, flagged=True), _texts(80, 10, flagged=False), CLEAN]
    judged = [_judged(95, 20, unfit=True), _judged(80, 10, unfit=True, flagged=False)]
    audits = [_judged(10, 50, unfit=False, flagged=False, drawn_of=910)]
    evidence = _evidence(texts, [*judged, *audits])
    found = _at(evidence, 0.9, current=0.9).recall
    assert found is not None
    assert found.value == pytest.approx(20 / 30)
    assert _at(evidence, 0.8, current=0.9).precision == Estimate(1.0, 1.0, 1.0)


def test_bands_that_nobody_looked_at_widen_the_interval_to_all_they_hold() -> None:
    evidence = _evidence([_texts(95, 50, flagged=True), _texts(75, 50, flagged=True)], [_judged(95, 50, unfit=True)])
    found = _at(evidence, 0.7).precision
    assert found is not None
    assert (found.value, found.low, found.high) == (1.0, 0.5, 1.0)


def test_basis_counts_what_was_looked_at() -> None:
    judged = [_judged(80, 4, unfit=True), _judged(10, 3, unfit=False, flagged=False, drawn_of=900)]
    found = basis(_evidence([FLAGGED, CLEAN], judged))
    assert (found.flagged, found.flagged_decided, found.unflagged, found.audited) == (100, 4, 900, 3)


Truth = tuple[int, bool]  # hundredth of a score, unfit


def _job(dice: random.Random) -> list[Truth]:
    """3,000 texts whose chance to be unfit grows with their score; most score low."""
    places = [min(int(100 * dice.betavariate(0.5, 2.0)), 99) for _ in range(3000)]
    return [(place, dice.random() < 0.02 + 0.8 * (place / 100) ** 2) for place in places]


def _reviewed(job: Sequence[Truth], dice: random.Random, decided: int, audited: int) -> Evidence:
    """What is known after `decided` of the flagged and `audited` draws of the others, as the queue makes them."""
    flagged = [text for text in job if text[0] >= 70]
    others = [text for text in job if text[0] < 70]
    cells = [_texts(p, n, flagged=p >= 70) for p, n in Counter(place for place, _ in job).items()]
    seen = Counter(dice.sample(flagged, min(decided, len(flagged))))
    drawn = Counter(dice.choices(others, k=audited))
    judged = [_judged(p, n, unfit=u) for (p, u), n in seen.items()]
    judged += [_judged(p, n, unfit=u, flagged=False, drawn_of=len(others)) for (p, u), n in drawn.items()]
    return _evidence(cells, judged)


@pytest.mark.parametrize(("threshold", "decided", "audited"), [(0.7, 100, 100), (0.7, 5000, 30), (0.8, 150, 150),
                                                              (0.5, 150, 300)])  # fmt: skip
def test_intervals_hold_the_truth_about_as_often_as_they_say(threshold: float, decided: int, audited: int) -> None:
    dice = random.Random(8123)
    rounds, held, precise = 250, 0, 0
    for _ in range(rounds):
        job = _job(dice)
        over = [unfit for place, unfit in job if place >= 100 * threshold]
        recall = sum(over) / sum(unfit for _, unfit in job)
        precision = sum(over) / len(over)
        advice = _at(_reviewed(job, dice, decided, audited), threshold)
        assert advice.recall is not None and advice.precision is not None
        held += advice.recall.low - 1e-9 <= recall <= advice.recall.high + 1e-9
        precise += advice.precision.low - 1e-9 <= precision <= advice.precision.high + 1e-9
    assert held / rounds >= 0.92, f"recall's interval held the truth in {held / rounds:.1%}"
    assert precise / rounds >= 0.92, f"precision's interval held the truth in {precise / rounds:.1%}"
