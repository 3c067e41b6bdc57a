"""The report of a job: one self-contained page, to be read in the morning and passed on.

No scripts and no external resources; flagged texts are left out unless asked for.
"""

from __future__ import annotations

import time

from markupsafe import Markup

from contract.policy import NO_SAFETY
from contract.review import APPROVED_STATES, State
from contract.text_flaws import LONG_RUN
from db.insights.copied import count_copied
from db.insights.figures import insights
from db.insights.flaws import count_flaws
from db.insights.report import report_facts
from db.jobs.jobs import get_job
from db.jobs.reflag import finish_reflag, unfinished_reflags
from db.jobs.status import snapshot
from db.record import acts_on
from db.session.engine import Database
from review.context import STATIC, environment
from review.preferences import COVER
from review.show.charts.job_charts import job_charts
from review.show.job_overview import overview_of

EXAMPLES = 8
STYLE_SHEETS = ("page.css", "charts.css")


def report_page(database: Database, job_id: int, *, show_flagged: bool = False, version: str = "") -> str:
    """The report of a job as HTML. A reflag that was interrupted is finished first, so flags match the job's policy.

    Args:
        show_flagged: include excerpts of flagged texts; anyone with the file can then read them.
        version: of the program, for the last line.

    Raises:
        UsageError: there is no such job.
    """
    job = get_job(database, job_id)
    if job_id in unfinished_reflags(database):
        finish_reflag(database, job_id)
    overview = overview_of(database, snapshot(database, job_id))
    report = report_facts(database, job_id, EXAMPLES)
    states = report.states
    return environment.get_template("report.html").render(
        job=job,
        overview=overview,
        report=report,
        approved=sum(states.get(state, 0) for state in APPROVED_STATES),
        rejected=states.get(State.REJECTED, 0),
        pending=states.get(State.PENDING, 0),
        waiting=states.get(State.WAITING, 0),
        flaws=count_flaws(database, job_id),
        copied=count_copied(database, job_id),
        long_run=LONG_RUN,
        charts=job_charts(insights(database, job_id), job_id, job.thresholds, links=False),
        # As on the page: a high score is covered too, even where a high threshold lets it pass.
        covered=lambda one: not show_flagged and (one.flagged or _covered(one.top_score, job.safety)),
        show_flagged=show_flagged,
        record=acts_on(database, job_id),
        made_at=time.time(),
        version=version,
        # Our own files, which never contain </style>.
        styles=[Markup((STATIC / name).read_text("utf-8")) for name in STYLE_SHEETS],  # noqa: S704
    )


def _covered(top_score: float | None, safety: str) -> bool:
    """Whether an unflagged text is left out all the same: one not scored yet may contain anything."""
    return safety != NO_SAFETY if top_score is None else top_score >= COVER
