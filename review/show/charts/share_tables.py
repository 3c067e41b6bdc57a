"""Shares of several groups of a job's outputs, as tables with bars: finish reasons, and flagged texts by metadata."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from db.insights.figures import Insights, KeyShares
from review.show.charts.svg import element, nice_step
from review.stats.intervals import Estimate, wilson

MANY_VALUES = 50
"""Keys with more values than this, none of them frequent, are not compared: they identify prompts."""
FREQUENT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRow:
    """One group: a share of its outputs, also drawn as a bar."""

    name: str
    outputs: int
    estimate: Estimate
    svg: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareTable:
    """The groups, one a row."""

    name: str
    title: str
    caption: str
    headings: tuple[str, str, str, str]  # the group, its bar, the share, how many outputs
    rows: tuple[ShareRow, ...]
    note: str = ""


def finish_reasons(insights: Insights) -> ShareTable | None:
    """Why generation stopped, by reason."""
    if not insights.finishes:
        return None
    total = sum(insights.finishes.values())
    return ShareTable(
        name="finishes",
        title="Finish reasons",
        caption="stop: ended by the model or by a stop string. length: cut off at max_new_tokens.",
        headings=("Reason", "0 to 100 %", "Share", "Texts"),
        rows=tuple(
            _share_row(reason, round(number * insights.scale), Estimate(*[number / total] * 3), 1.0)
            for reason, number in insights.finishes.items()
        ),
    )


def metadata_shares(insights: Insights) -> list[ShareTable]:
    """The flagged share for each value of each metadata key."""
    return [_metadata_share(f"key-{number}", key, insights) for number, key in enumerate(insights.keys)]


def _metadata_share(name: str, key: KeyShares, insights: Insights) -> ShareTable:
    frequent = key.distinct <= MANY_VALUES or key.values[0].outputs >= FREQUENT * insights.counted
    estimates = [wilson(value.flagged / value.outputs, value.outputs) for value in key.values]
    # The end of the bars' track is a round share, and is named over them.
    largest = min(nice_step(max((estimate.high for estimate in estimates), default=1.0), 1), 1.0)
    rows = tuple(
        _share_row(value.value, round(value.outputs * insights.scale), estimate, largest)
        for value, estimate in zip(key.values, estimates, strict=True)
    )
    left_out = key.distinct - len(rows)
    if not frequent:
        return ShareTable(
            name=name, title=key.key, caption="", headings=("Value", "", "Flagged", "Outputs"), rows=(),
            note=f"{key.distinct:,} values, none on more than 1 % of the outputs: too many to compare.",
        )  # fmt: skip
    return ShareTable(
        name=name,
        title=key.key,
        caption="",
        headings=("Value", f"0 to {100 * largest:g} %", "Flagged", "Outputs"),
        rows=rows,
        note=f"The {len(rows)} most frequent of {key.distinct:,} values." if left_out else "",
    )


def _share_row(name: str, outputs: int, estimate: Estimate, largest: float) -> ShareRow:
    parts = [
        element("rect", x=0.0, y=2.0, width=100.0, height=8.0, class_="track"),
        element("rect", x=0.0, y=2.0, width=100 * estimate.value / largest, height=8.0, class_="bar"),
    ]
    if estimate.high > estimate.low:
        low, high = 100 * estimate.low / largest, 100 * estimate.high / largest
        parts.append(element("rect", x=min(low, 99.5), y=5.0, width=max(high - low, 0.5), height=2.0, class_="whisker"))
    svg = element(
        "svg", *parts, class_="share", viewBox="0 0 100 12", preserveAspectRatio="none", aria_hidden="true",
        focusable="false",
    )  # fmt: skip
    return ShareRow(name=name, outputs=outputs, estimate=estimate, svg=svg)
