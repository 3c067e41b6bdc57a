"""The charts of a job, each with the same numbers as a table, from `db.insights.figures`.

Knows what a bar links to (an address of the queue), not which page shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from markupsafe import Markup

from common.times import duration
from contract.policy import DEFAULT_THRESHOLD
from db.insights.figures import SCORE_BINS, Insights, KeyShares, Moment
from review.show import words
from review.show.pictures.bars import Bar, Bars
from review.show.pictures.svg import element, nice_step
from review.stats.intervals import Estimate, wilson

MOST_LENGTHS = 32
MANY_VALUES = 50
"""Keys with more values than this, none of them frequent, are not compared: they identify prompts."""
FREQUENT = 0.01


@dataclass(frozen=True, slots=True)
class Cell:
    """One table cell, perhaps with a link to its outputs."""

    words: str
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart, and its numbers as a table."""

    name: str
    title: str
    caption: str
    svg: Markup
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One row of a comparison: a share of the group's outputs, drawn as a bar."""

    words: str
    outputs: int
    estimate: Estimate
    svg: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Shares of several groups, as a table with bars."""

    name: str
    title: str
    caption: str
    headings: tuple[str, str, str, str]  # the group, its bar, the share, how many outputs
    rows: tuple[Share, ...]
    note: str = ""


def queue_link(job_id: int, **parameters: object) -> str:
    """The address of the queue filtered to these outputs."""
    return "/queue?" + urlencode({"job": job_id, **parameters})


def score_figures(found: Insights, job_id: int, thresholds: Mapping[str, float], *, links: bool) -> list[Figure]:
    """One histogram for each label of the job's classifier."""
    return [
        _scores(label, counts, thresholds.get(label, DEFAULT_THRESHOLD), found, job_id, links=links)
        for label, counts in found.scores.items()
    ]


def _scores(
    label: str, counts: Sequence[int], threshold: float, found: Insights, job_id: int, *, links: bool
) -> Figure:
    name = words.label(label)
    bars, rows = [], []
    for place, count in enumerate(counts):
        low, high = place / SCORE_BINS, (place + 1) / SCORE_BINS
        number = _about(count * found.scale, found)
        link = queue_link(job_id, label=label, low=f"{low:.2f}", high=f"{high:.2f}", state="all") if links else None
        says = f"{number} outputs from {low:.2f} to {high:.2f}"
        # A bar that straddles the threshold counts as over where most of it is.
        bars.append(Bar(value=count * found.scale, says=says, link=link, over=(low + high) / 2 >= threshold))
        rows.append((Cell(f"{low:.2f}–{high:.2f}"), Cell(number, link if count else None)))
    over = sum(count for place, count in enumerate(counts) if (place + 0.5) / SCORE_BINS >= threshold)
    drawn = Bars(
        name=f"scores-{label}",
        title=f"Scores for {name}",
        description=f"Histogram of {_about(sum(counts) * found.scale, found)} scores from 0 to 1 with a logarithmic "
        f"scale; about {_about(over * found.scale, found)} are over the threshold {threshold:g}.",
        bars=bars,
        axis="score (logarithmic counts)",
        ticks=[(step / 5, f"{step / 5:.1f}") for step in range(6)],
        logarithmic=True,
        mark=(threshold, f"threshold {threshold:g}"),
    )
    return Figure(
        name=drawn.name, title=name, caption="", svg=drawn.svg(), headings=("Score", "Outputs"), rows=tuple(rows)
    )


def time_figures(found: Insights) -> list[Figure]:
    """Outputs and tokens over the time the job ran."""
    if not found.moments:
        return []
    each = duration(found.moment_seconds) if found.moment_seconds > 1 else "second"
    outputs = [(moment, moment.outputs, f"{_about(moment.outputs, found)} outputs") for moment in found.moments]
    rates = [(moment, moment.tokens / _covered(moment, found)) for moment in found.moments]
    pace = [(moment, rate, f"{rate:,.0f} tokens a second") for moment, rate in rates]
    return [
        _over_time("outputs", "Outputs over time", f"Outputs stored in each {each}.", outputs, found),
        _over_time("tokens", "Tokens over time", f"Tokens a second, averaged over each {each}.", pace, found),
    ]


def _covered(moment: Moment, found: Insights) -> float:
    """Seconds of an interval in which the job ran: the first and the last one are usually partial."""
    start, end = max(moment.start, found.first_at), min(moment.start + found.moment_seconds, found.last_at)
    return max(end - start, found.moment_seconds / 4)


def _over_time(
    name: str, title: str, caption: str, values: Sequence[tuple[Moment, float, str]], found: Insights
) -> Figure:
    seconds = found.moment_seconds
    first, last = values[0][0].start, values[-1][0].start + seconds
    most = max(value for _, value, _ in values)
    drawn = Bars(
        name=f"time-{name}",
        title=title,
        description=f"{caption} From {_clock(first, seconds, dated=True)} to {_clock(last, seconds, dated=True)}; "
        f"at most {most:,.0f}.",
        bars=[Bar(value=value, says=f"{_clock(m.start, seconds)}: {says}") for m, value, says in values],
        axis=datetime.fromtimestamp(first).strftime("from %Y-%m-%d %H:%M"),
        ticks=[((at - first) / (last - first), _clock(at, seconds)) for at in _ticks(first, last)],
    )
    rows = tuple((Cell(_clock(m.start, seconds, dated=True)), Cell(f"{value:,.0f}")) for m, value, _ in values)
    return Figure(name=drawn.name, title=title, caption=caption, svg=drawn.svg(), headings=("From", title), rows=rows)


_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)


def _ticks(first: float, last: float) -> list[float]:
    """Round times of day between two times, at most six."""
    step = next((step for step in _TICKS if (last - first) / step <= 6), _TICKS[-1] * 4)
    zone = datetime.fromtimestamp(first).astimezone().utcoffset()
    shift = zone.total_seconds() if zone else 0.0
    start = -(-(first + shift) // step) * step - shift
    return [at for at in (start + i * step for i in range(8)) if first <= at <= last]


def _clock(at: float, seconds: int, *, dated: bool = False) -> str:
    form = ("%Y-%m-%d " if dated else "") + ("%H:%M:%S" if seconds < 30 else "%H:%M")
    return datetime.fromtimestamp(at).strftime(form)


def length_figure(found: Insights) -> Figure | None:
    """The distribution of text lengths."""
    if not found.lengths:
        return None
    longest = max(found.lengths)
    width = max(int(nice_step(longest + 1, MOST_LENGTHS)), 1)
    counts = [0] * (longest // width + 1)
    for tokens, number in found.lengths.items():
        counts[tokens // width] += number
    spans = [f"{i * width}" if width == 1 else f"{i * width}–{(i + 1) * width - 1}" for i in range(len(counts))]
    step = nice_step(len(counts) * width, 6)
    middle = _median(found.lengths)
    drawn = Bars(
        name="lengths",
        title="Lengths",
        description=f"Histogram of texts by tokens; the median is {middle}, the longest {longest}.",
        bars=[
            Bar(value=n * found.scale, says=f"{_about(n * found.scale, found)} texts of {span} tokens")
            for n, span in zip(counts, spans, strict=True)
        ],
        axis="tokens",
        ticks=[(i * step / (len(counts) * width), f"{i * step:g}") for i in range(int(len(counts) * width / step) + 1)],
    )
    rows = tuple((Cell(span), Cell(_about(n * found.scale, found))) for n, span in zip(counts, spans, strict=True))
    caption = f"Tokens in each text; the median is {middle}."
    return Figure(
        name="lengths", title="Lengths", caption=caption, svg=drawn.svg(), headings=("Tokens", "Texts"), rows=rows
    )


def _median(counts: Mapping[int, int]) -> int:
    half, passed = sum(counts.values()) / 2, 0
    for value, number in sorted(counts.items()):
        passed += number
        if passed >= half:
            return value
    return 0


def finish_comparison(found: Insights) -> Comparison | None:
    """Why generation stopped, by reason."""
    if not found.finishes:
        return None
    whole = sum(found.finishes.values())
    return Comparison(
        name="finishes",
        title="Finish reasons",
        caption="stop: ended by the model or by a stop string. length: cut off at max_new_tokens.",
        headings=("Reason", "", "Share", "Texts"),
        rows=tuple(
            _share(reason, round(number * found.scale), Estimate(*[number / whole] * 3), 1.0)
            for reason, number in found.finishes.items()
        ),
    )


def key_comparisons(found: Insights) -> list[Comparison]:
    """The flagged share for each value of each metadata key."""
    return [_key(f"key-{number}", key, found) for number, key in enumerate(found.keys)]


def _key(name: str, key: KeyShares, found: Insights) -> Comparison:
    frequent = key.distinct <= MANY_VALUES or key.values[0].outputs >= FREQUENT * found.counted
    estimates = [wilson(value.flagged / value.outputs, value.outputs) for value in key.values]
    most = max((estimate.high for estimate in estimates), default=1.0) or 1.0
    rows = tuple(
        _share(value.value, round(value.outputs * found.scale), estimate, most)
        for value, estimate in zip(key.values, estimates, strict=True)
    )
    left_out = key.distinct - len(rows)
    if not frequent:
        return Comparison(
            name=name, title=key.key, caption="", headings=("Value", "", "Flagged", "Outputs"), rows=(),
            note=f"{key.distinct:,} values, none on more than 1 % of the outputs: too many to compare.",
        )  # fmt: skip
    return Comparison(
        name=name,
        title=key.key,
        caption="",
        headings=("Value", "", "Flagged", "Outputs"),
        rows=rows,
        note=f"The {len(rows)} most frequent of {key.distinct:,} values." if left_out else "",
    )


def _share(name: str, outputs: int, estimate: Estimate, most: float) -> Share:
    parts = [
        element("rect", x=0.0, y=2.0, width=100.0, height=8.0, class_="track"),
        element("rect", x=0.0, y=2.0, width=100 * estimate.value / most, height=8.0, class_="bar"),
    ]
    if estimate.high > estimate.low:
        low, high = 100 * estimate.low / most, 100 * estimate.high / most
        parts.append(element("rect", x=low, y=5.0, width=max(high - low, 0.5), height=2.0, class_="whisker"))
    svg = element(
        "svg", *parts, class_="share", viewBox="0 0 100 12", preserveAspectRatio="none", aria_hidden="true",
        focusable="false",
    )  # fmt: skip
    return Share(words=name, outputs=outputs, estimate=estimate, svg=svg)


def _about(number: float, found: Insights) -> str:
    return f"about {number:,.0f}" if found.scale > 1 and number else f"{number:,.0f}"
