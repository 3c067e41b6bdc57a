"""Which stored texts a classifier has still to see; when somebody comes to it is the business of `claims`."""

from __future__ import annotations

from sqlalchemy import and_, or_, select

from contract.spec import Safety
from db.models import Job, Output, Score
from db.standing import scores_of

_OTHER = or_(Score.classifier_revision.is_distinct_from(Job.served_classifier_revision), Score.score_by != Job.score_by)

STALE = and_(
    Output.safety == Safety.SCORED,
    select(Score.id).where(Job.id == Output.job_id, Job.rescoring, scores_of(0), _OTHER).correlate(Output).exists(),
)
"""Texts of a job that is scored again, with scores that were made otherwise than it is scored now: by another
revision, or by window and not by sentence."""

TO_SCORE = or_(Output.safety == Safety.WAITING, STALE)
