"""What stands for an output: the text as it was generated or the edit in its place, and the scores of that text.

Parts of queries that have an output, its row of `reviews` (outer) and, for its classifier, its job.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func

from contract.policy import LABELS
from contract.review import Action, State
from db.models import Job, Output, Score
from db.review_models import Decision, Review

REVISION = func.coalesce(Review.revision, 0)
"""Of the text that stands: 0 as generated, k the k-th edit."""
HAS_EDIT = exists().where(Review.output_id == Output.id, Review.revision > 0)
"""Whether an edit stands in an output's place; needs no row of `reviews` in the query."""
UNDECIDED_STATE = case((Output.flagged, State.PENDING.value), else_=State.UNFLAGGED.value)
"""The state of an output that nobody has decided of."""
STATE = func.coalesce(Review.state, UNDECIDED_STATE)
VERSION = func.coalesce(Review.version, 0)
"""The newest entry of an output's record, undo or not: what the next decision expects to find; 0 = there is none."""
UNFLAGGED = and_(~Output.flagged, Output.decision.is_(None))
"""The outputs that nobody has to look at, and nobody decided."""
STORED_DECISIONS = {
    State.APPROVED: Action.APPROVE.value,
    State.REJECTED: Action.REJECT.value,
    State.EDITED: Action.EDIT.value,
    State.WAITING: "waiting",
}
"""What `outputs.decision` says of each state; null for the others."""
SCORES = tuple(Score.__table__.c[label] for label in LABELS)


def scores_of(revision: Any, classifier: Any = Job.safety, output: Any = Output.id) -> ColumnElement[bool]:
    """How to find the scores of one text: at most one row, which an index over these three leads to.

    Args:
        revision: `REVISION` = of the text that stands, 0 = of the one that was generated.
        classifier: by which the text is judged; its job's.
    """
    return and_(Score.output_id == output, Score.revision == revision, Score.classifier == classifier)


def scores_in(row: Any) -> dict[str, float]:
    """The scores in a row that has `SCORES`, of the labels that its classifier gives."""
    return {label: score for label in LABELS if (score := getattr(row, label)) is not None}


def standing_text(edit: Any = Decision) -> Any:
    """The text that stands of an output, in a query that joined `standing_edit`."""
    return func.coalesce(edit.text, Output.text)


def standing_edit(edit: Any = Decision) -> Any:
    """How to join the edit that made the standing text: none where it is the one that was generated."""
    return and_(
        Review.revision > 0,
        edit.output_id == Review.output_id,
        edit.revision == Review.revision,
        edit.action == Action.EDIT.value,
    )
