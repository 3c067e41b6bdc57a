"""Charts as SVG: well formed, escaped, nothing that a strict page refuses, and true to their figures."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from contract.policy import LABELS
from db.insights.figures import SCORE_BINS, Insights, KeyShares, Moment, ValueShare
from review.show.charts.bar_chart import MIN_HEIGHT, Bar, BarChart
from review.show.charts.job_charts import length_chart, score_charts, time_charts
from review.show.charts.line_chart import Curve, LineChart
from review.show.charts.share_tables import finish_reasons, metadata_shares
from review.show.charts.svg import HEIGHT, PLOT_HEIGHT, WIDTH, axis_number, element, nice_step
from review.stats.intervals import Estimate

EVIL = '<script>alert("x")</script>&\'\u202e'

NOTHING = Insights(
    total=0, counted=0, scale=1.0, scores={}, moments=(), moment_seconds=1, first_at=0.0, last_at=0.0, lengths={},
    finishes={}, keys=(),
)  # fmt: skip


def _scores(*counts: int) -> Insights:
    filled = (*counts, *(0,) * (SCORE_BINS - len(counts)))
    return replace(NOTHING, total=sum(counts), counted=sum(counts), scores={"toxicity": filled})


def _parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def _classed(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [found for found in root.iter() if name in found.get("class", "").split()]


def _bars(**values: Any) -> BarChart:
    return BarChart(
        **(
            {"name": "n", "title": "t", "description": "d", "axis": "a", "value_axis": "v", "ticks": [], "bars": []}
            | values
        )
    )


def test_everything_in_a_chart_is_escaped() -> None:
    svg = _bars(
        title=EVIL, description=EVIL, axis=EVIL, bars=[Bar(value=1, tooltip=EVIL, link=f"/queue?q={EVIL}")]
    ).svg()
    root = _parsed(svg)
    assert "<script" not in svg
    assert root.find("title").text == EVIL  # type: ignore[union-attr]
    assert [found.get("href") for found in root.iter("a")] == [f"/queue?q={EVIL}"]
    assert "<script" not in element("text", EVIL, class_=EVIL)


def test_a_chart_has_a_name_a_description_and_no_inline_style() -> None:
    for chart in score_charts(_scores(5, 2), 1, {}, links=True):
        root = _parsed(chart.svg)
        assert root.get("aria-labelledby") == root.find("title").get("id")  # type: ignore[union-attr]
        assert root.get("aria-describedby") == root.find("desc").get("id")  # type: ignore[union-attr]
        assert not [found for found in root.iter() if "style" in found.attrib or found.tag == "style"]
        assert not [name for found in root.iter() for name in found.attrib if name.startswith("on")]


def test_an_image_with_links_is_no_single_image_to_a_screen_reader() -> None:
    assert _parsed(_bars(bars=[Bar(value=1, tooltip="x")]).svg()).get("role") == "img"
    assert _parsed(_bars(bars=[Bar(value=1, tooltip="x", link="/queue")]).svg()).get("role") == "group"


def test_each_bar_leads_to_the_outputs_of_its_label_and_range() -> None:
    [chart] = score_charts(_scores(3, 0, 2), 7, {}, links=True)
    links = [found.get("href") for found in _parsed(chart.svg).iter("a")]
    assert links == [
        "/queue?job=7&label=toxicity&low=0.00&high=0.05&state=all",
        "/queue?job=7&label=toxicity&low=0.10&high=0.15&state=all",
    ]
    assert [row[1].link for row in chart.rows if row[1].link] == links
    assert [row[1].text for row in chart.rows][:4] == ["3", "0", "2", "0"]
    assert not list(_parsed(score_charts(_scores(3), 7, {}, links=False)[0].svg).iter("a"))


def test_bars_over_the_threshold_stand_out() -> None:
    [chart] = score_charts(_scores(*[1] * SCORE_BINS), 1, {"toxicity": 0.8}, links=False)
    assert len(_classed(_parsed(chart.svg), "over")) == 4
    assert "threshold 0.8" in chart.svg


def test_one_text_among_a_million_is_seen_and_none_is_not() -> None:
    root = _parsed(_bars(bars=[Bar(value=v, tooltip="") for v in (1e6, 1, 0)], logarithmic=True).svg())
    tall, small, nothing = (float(found.get("height", "")) for found in _classed(root, "bar"))
    assert tall == pytest.approx(PLOT_HEIGHT)
    assert small == pytest.approx(PLOT_HEIGHT * math.log10(2) / math.log10(1e6 + 1), abs=0.01)
    assert nothing == 0
    linear = _parsed(_bars(bars=[Bar(value=v, tooltip="") for v in (1e6, 1, 0)]).svg())
    assert [float(f.get("height", "")) for f in _classed(linear, "bar")][1:] == [MIN_HEIGHT, 0]


def test_a_sampled_jobs_numbers_say_about() -> None:
    found = replace(_scores(10), scale=20.0, total=200)
    [chart] = score_charts(found, 1, {}, links=False)
    assert chart.rows[0][1].text == "about 200"


def test_rates_over_time_heed_that_the_ends_are_not_whole() -> None:
    start = 1_700_000_000 // 60 * 60.0
    moments = tuple(Moment(start=start + 60 * i, outputs=10, tokens=n) for i, n in enumerate((300, 600, 150)))
    found = replace(NOTHING, moments=moments, moment_seconds=60, first_at=start + 30, last_at=start + 135)
    outputs, tokens = time_charts(found)
    assert [row[1].text for row in outputs.rows] == ["10", "10", "10"]
    assert [row[1].text for row in tokens.rows] == ["10", "10", "10"]


@pytest.mark.parametrize(("seconds", "bars"), [(1, 1), (1, 60), (600, 49), (86400, 59)])
def test_the_time_axis_has_a_few_round_times(seconds: int, bars: int) -> None:
    start = 1_700_000_000 // seconds * float(seconds)
    moments = tuple(Moment(start=start + seconds * i, outputs=1, tokens=1) for i in range(bars))
    found = replace(NOTHING, moments=moments, moment_seconds=seconds, first_at=start, last_at=start + seconds * bars)
    chart = time_charts(found)[0]
    said = [f.text or "" for f in _classed(_parsed(chart.svg), "tick") if ":" in (f.text or "")]
    assert 1 <= len(said) <= 7
    assert time.strftime("%H:%M", time.localtime(start)) in chart.rows[0][0].text


def test_lengths_are_gathered_into_few_bars() -> None:
    chart = length_chart(replace(NOTHING, lengths={1: 2, 63: 1, 64: 3, 1024: 1}))
    assert chart is not None
    assert len(chart.rows) <= 33
    assert sum(int(row[1].text) for row in chart.rows) == 7
    assert "median is 64" in chart.caption
    assert length_chart(NOTHING) is None


def test_finish_reasons_are_shares_of_all() -> None:
    found = finish_reasons(replace(NOTHING, finishes={"length": 3, "stop": 1}))
    assert found is not None
    assert [(row.name, row.outputs, row.estimate.value) for row in found.rows] == [
        ("length", 3, 0.75),
        ("stop", 1, 0.25),
    ]


def test_a_values_share_carries_its_interval() -> None:
    key = KeyShares(key=EVIL, distinct=1, values=(ValueShare(value=EVIL, outputs=20, flagged=0),))
    [found] = metadata_shares(replace(NOTHING, counted=20, keys=(key,)))
    assert found.rows[0].estimate.low == 0
    assert found.rows[0].estimate.high == pytest.approx(0.1611, abs=1e-4)
    _parsed(found.rows[0].svg)


def test_keys_that_name_prompts_are_not_compared() -> None:
    values = tuple(ValueShare(value=str(i), outputs=1, flagged=0) for i in range(12))
    [found] = metadata_shares(replace(NOTHING, counted=4000, keys=(KeyShares(key="id", distinct=4000, values=values),)))
    assert not found.rows
    assert "4,000 values" in found.note


def test_a_curve_stops_where_nothing_is_known() -> None:
    known = Estimate(0.5, 0.4, 0.6)
    points = [(0.1, known), (0.2, known), (0.3, None), (0.4, known)]
    root = _parsed(
        LineChart(name="c", title="t", description="d", axis="a", curves=[Curve("P", "precision", points)]).svg()
    )
    assert len(_classed(root, "line")) == 2
    assert len(_classed(root, "band")) == 2
    assert len(_classed(root, "dot")) == 3


def test_steps_and_figures_of_axes_are_round() -> None:
    assert [nice_step(most, 4) for most in (4, 5, 30, 0.9, 1234)] == [1, 2, 10, 0.5, 500]
    assert [axis_number(value) for value in (0, 950, 1500, 20_000, 3_000_000)] == ["0", "950", "1.5k", "20k", "3M"]


def _labels(root: ElementTree.Element) -> list[tuple[float, float, float, float, str]]:
    """Each text as a box (left, top, right, bottom), as wide as its characters at least are, and what it says."""
    boxes = []
    for found in root.iter("text"):
        said, x, y = found.text or "", float(found.get("x", "")), float(found.get("y", ""))
        width = 6.2 * len(said)
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[found.get("text-anchor", "start")]
        boxes.append((left, y - 9, left + width, y + 2, said))
    return boxes


def _assert_apart(svg: str) -> None:
    boxes = _labels(_parsed(svg))
    for number, (left, top, right, bottom, said) in enumerate(boxes):
        assert left >= -1 and right <= WIDTH + 1 and bottom <= HEIGHT, said
        for other in boxes[:number]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart, (said, other[4])


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.3, 0.59, 0.6, 0.9999, 1.0])
def test_no_label_of_a_histogram_touches_another(threshold: float) -> None:
    for label in LABELS:
        found = replace(_scores(), scores={label: (1_234_567,) * SCORE_BINS})
        _assert_apart(score_charts(found, 1, {label: threshold}, links=False)[0].svg)


@pytest.mark.parametrize("seconds", [1, 2, 5, 60, 600, 3600, 86400])
@pytest.mark.parametrize("bars", [1, 3, 7, 30, 60])
def test_no_label_of_a_time_axis_touches_another(seconds: int, bars: int) -> None:
    start = 1_700_000_000 // seconds * float(seconds)
    moments = tuple(Moment(start=start + seconds * i, outputs=10**i % 999_983, tokens=1) for i in range(bars))
    found = replace(NOTHING, moments=moments, moment_seconds=seconds, first_at=start, last_at=start + seconds * bars)
    for chart in time_charts(found):
        _assert_apart(chart.svg)


def test_many_and_long_labels_are_thinned_and_fitted() -> None:
    ticks = [(i / 30, f"{i}0000 tokens") for i in range(31)]
    chart = _bars(ticks=ticks, axis="x" * 200, value_axis="y" * 200, bars=[Bar(value=1e9, tooltip="")])
    _assert_apart(chart.svg())
    assert len(_classed(_parsed(chart.svg()), "tick")) > 3


@pytest.mark.parametrize("ends", [(0.5, 0.5), (1.0, 1.0), (0.0, 0.01), (0.98, 0.95), (0.3, 0.31)])
@pytest.mark.parametrize("last", [0.05, 0.5, 0.95])
def test_the_names_of_curves_stand_at_their_ends_and_apart(ends: tuple[float, float], last: float) -> None:
    curves = [
        Curve(name, name.lower(), [(last, Estimate(end, end, end))])
        for name, end in zip(("Precision", "Recall"), ends, strict=True)
    ]
    svg = LineChart(
        name="c", title="t", description="d", axis="a", curves=curves, mark=(last, f"threshold {last}")
    ).svg()
    _assert_apart(svg)
    assert {found.text for found in _classed(_parsed(svg), "curve-name")} == {"Precision", "Recall"}


def test_both_axes_of_every_chart_have_a_name() -> None:
    moments = (Moment(start=1.7e9, outputs=1, tokens=1),)
    found = replace(_scores(3), moments=moments, lengths={3: 1}, first_at=1.7e9, last_at=1.7e9 + 1)
    lengths = length_chart(found)
    assert lengths is not None
    for chart in (*score_charts(found, 1, {}, links=False), *time_charts(found), lengths):
        assert len([name for name in _classed(_parsed(chart.svg), "axis-name") if name.text]) == 2, chart.name


def test_what_is_over_a_threshold_is_hatched_and_recalls_points_are_square() -> None:
    [chart] = score_charts(_scores(*[1] * SCORE_BINS), 1, {"toxicity": 0.8}, links=False)
    root = _parsed(chart.svg)
    assert len(_classed(root, "hatching")) == len(_classed(root, "over")) == 4
    points = [(0.5, Estimate(0.5, 0.4, 0.6))]
    curves = [Curve("P", "precision", points), Curve("R", "recall", points, square=True)]
    dots = _classed(_parsed(LineChart(name="c", title="t", description="d", axis="a", curves=curves).svg()), "dot")
    assert [found.tag for found in dots] == ["circle", "rect"]


@pytest.mark.parametrize(
    ("flagged", "outputs", "end"), [(0, 2000, "0.2"), (3, 100, "10"), (9, 10, "100"), (1, 1, "100")]
)
def test_the_track_of_shares_ends_at_a_round_share_that_is_named(flagged: int, outputs: int, end: str) -> None:
    key = KeyShares(key="k", distinct=1, values=(ValueShare(value="v", outputs=outputs, flagged=flagged),))
    [found] = metadata_shares(replace(NOTHING, counted=outputs, keys=(key,)))
    assert found.headings[1] == f"0 to {end} %"
    for rectangle in _parsed(found.rows[0].svg).iter("rect"):
        assert float(rectangle.get("x", "")) + float(rectangle.get("width", "")) <= 100.0001
