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
from db.insights.figures import SCORE_BINS, Insights, Moment
from review.show import formatting
from review.show.charts.bar_chart import Bar, BarChart
from review.show.charts.share_tables import ShareTable, finish_reasons, metadata_shares
from review.show.charts.svg import nice_step

MAX_LENGTH_BARS = 32


@dataclass(frozen=True, slots=True)
class Cell:
    """One table cell, perhaps with a link to its outputs."""

    text: str
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart, and its numbers as a table."""

    name: str
    title: str
    caption: str
    svg: Markup
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCharts:
    """All charts of a job."""

    insights: Insights
    scores: list[Chart]
    times: list[Chart]
    lengths: Chart | None
    finish_reasons: ShareTable | None
    metadata: list[ShareTable]


def job_charts(insights: Insights, job_id: int, thresholds: Mapping[str, float], *, links: bool) -> JobCharts:
    """The charts of a job's figures.

    Args:
        links: whether bars link to the queue; not in a report.
    """
    return JobCharts(
        insights=insights,
        scores=score_charts(insights, job_id, thresholds, links=links),
        times=time_charts(insights),
        lengths=length_chart(insights),
        finish_reasons=finish_reasons(insights),
        metadata=metadata_shares(insights),
    )


def queue_link(job_id: int, **parameters: object) -> str:
    """The address of the queue filtered to these outputs."""
    return "/queue?" + urlencode({"job": job_id, **parameters})


def score_charts(insights: Insights, job_id: int, thresholds: Mapping[str, float], *, links: bool) -> list[Chart]:
    """One histogram for each label of the job's classifier."""
    return [
        _scores(label, counts, thresholds.get(label, DEFAULT_THRESHOLD), insights, job_id, links=links)
        for label, counts in insights.scores.items()
    ]


def _scores(
    label: str, counts: Sequence[int], threshold: float, insights: Insights, job_id: int, *, links: bool
) -> Chart:
    name = formatting.label(label)
    bars, rows = [], []
    for place, count in enumerate(counts):
        low, high = place / SCORE_BINS, (place + 1) / SCORE_BINS
        number = _about(count * insights.scale, insights)
        link = queue_link(job_id, label=label, low=f"{low:.2f}", high=f"{high:.2f}", state="all") if links else None
        noun = "output" if number == "1" else "outputs"
        tooltip = f"{number} {noun} from {low:.2f} to {high:.2f}"
        # A bar that straddles the threshold counts as over where most of it is.
        bars.append(
            Bar(value=count * insights.scale, tooltip=tooltip, link=link, over_threshold=(low + high) / 2 >= threshold)
        )
        rows.append((Cell(f"{low:.2f}–{high:.2f}"), Cell(number, link if count else None)))
    over = sum(count for place, count in enumerate(counts) if (place + 0.5) / SCORE_BINS >= threshold)
    chart = BarChart(
        name=f"scores-{label}",
        title=f"Scores for {name}",
        description=f"Histogram of {_about(sum(counts) * insights.scale, insights)} scores from 0 to 1 with a "
        f"logarithmic scale; about {over * insights.scale:,.0f} are over the threshold {threshold:g}.",
        bars=bars,
        axis=f"score for {name}",
        value_axis="texts (logarithmic scale)",
        ticks=[(step / 5, f"{step / 5:.1f}") for step in range(6)],
        logarithmic=True,
        mark=(threshold, f"threshold {threshold:g}"),
    )
    return Chart(
        name=chart.name, title=name, caption="", svg=chart.svg(), headings=("Score", "Outputs"), rows=tuple(rows)
    )


def time_charts(insights: Insights) -> list[Chart]:
    """Outputs and tokens over the time the job ran."""
    if not insights.moments:
        return []
    each = duration(insights.moment_seconds) if insights.moment_seconds > 1 else "second"
    outputs = [(moment, moment.outputs, f"{_about(moment.outputs, insights)} outputs") for moment in insights.moments]
    rates = [(moment, moment.tokens / _covered(moment, insights)) for moment in insights.moments]
    pace = [(moment, rate, f"{rate:,.0f} tokens a second") for moment, rate in rates]
    return [
        _over_time(
            "outputs",
            "Outputs over time",
            f"Outputs stored in each {each}.",
            f"outputs in each {each}",
            outputs,
            insights,
        ),
        _over_time(
            "tokens",
            "Tokens over time",
            f"Tokens a second, averaged over each {each}.",
            "tokens a second",
            pace,
            insights,
        ),
    ]


def _covered(moment: Moment, insights: Insights) -> float:
    """Seconds of an interval in which the job ran: the first and the last one are usually partial."""
    start, end = max(moment.start, insights.first_at), min(moment.start + insights.moment_seconds, insights.last_at)
    return max(end - start, insights.moment_seconds / 4)


def _over_time(
    name: str, title: str, caption: str, unit: str, values: Sequence[tuple[Moment, float, str]], insights: Insights
) -> Chart:
    seconds = insights.moment_seconds
    first, last = values[0][0].start, values[-1][0].start + seconds
    largest = max(value for _, value, _ in values)
    chart = BarChart(
        name=f"time-{name}",
        title=title,
        description=f"{caption} From {_clock(first, seconds, dated=True)} to {_clock(last, seconds, dated=True)}; "
        f"at most {largest:,.0f}.",
        bars=[Bar(value=value, tooltip=f"{_clock(m.start, seconds)}: {tooltip}") for m, value, tooltip in values],
        axis=datetime.fromtimestamp(first).strftime("time, from %Y-%m-%d %H:%M"),
        value_axis=unit,
        ticks=[((at - first) / (last - first), _clock(at, seconds)) for at in _ticks(first, last)],
    )
    rows = tuple((Cell(_clock(m.start, seconds, dated=True)), Cell(f"{value:,.0f}")) for m, value, _ in values)
    return Chart(name=chart.name, title=title, caption=caption, svg=chart.svg(), headings=("From", title), rows=rows)


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


def length_chart(insights: Insights) -> Chart | None:
    """The distribution of text lengths."""
    if not insights.lengths:
        return None
    longest = max(insights.lengths)
    width = max(int(nice_step(longest + 1, MAX_LENGTH_BARS)), 1)
    counts = [0] * (longest // width + 1)
    for tokens, number in insights.lengths.items():
        counts[tokens // width] += number
    spans = [f"{i * width}" if width == 1 else f"{i * width}–{(i + 1) * width - 1}" for i in range(len(counts))]
    step = nice_step(len(counts) * width, 6)
    middle = _median(insights.lengths)
    chart = BarChart(
        name="lengths",
        title="Lengths",
        description=f"Histogram of texts by tokens; the median is {middle}, the longest {longest}.",
        bars=[
            Bar(value=n * insights.scale, tooltip=f"{_about(n * insights.scale, insights)} texts of {span} tokens")
            for n, span in zip(counts, spans, strict=True)
        ],
        axis="tokens in a text",
        value_axis="texts",
        ticks=[(i * step / (len(counts) * width), f"{i * step:g}") for i in range(int(len(counts) * width / step) + 1)],
    )
    rows = tuple(
        (Cell(span), Cell(_about(n * insights.scale, insights))) for n, span in zip(counts, spans, strict=True)
    )
    caption = f"Tokens in each text; the median is {middle}."
    return Chart(
        name="lengths", title="Lengths", caption=caption, svg=chart.svg(), headings=("Tokens", "Texts"), rows=rows
    )


def _median(counts: Mapping[int, int]) -> int:
    half, passed = sum(counts.values()) / 2, 0
    for value, number in sorted(counts.items()):
        passed += number
        if passed >= half:
            return value
    return 0


def _about(number: float, insights: Insights) -> str:
    return f"about {number:,.0f}" if insights.scale > 1 and number else f"{number:,.0f}"
