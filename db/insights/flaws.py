"""How many of a job's texts are empty, cut or repeating; of a large job, by a sample.

Counts; `contract.text_flaws` says what each of them means.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select

from contract.text_flaws import TextFlaw, text_flaws
from db.insights.sample import draw_sample
from db.models import Output
from db.review_models import Decision, Review
from db.session.engine import Database
from db.standing import REVISION, standing_edit, standing_text

FETCHED_ROWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FlawCounts:
    """A job's texts by what is wrong with them; a text may have several flaws."""

    counts: dict[TextFlaw, int]  # every flaw, also those that no text has
    exact: bool  # False = estimated from a sample

    @property
    def found(self) -> list[TextFlaw]:
        """The flaws that some text has."""
        return [flaw for flaw, number in self.counts.items() if number]

    def __str__(self) -> str:
        """Such as `3 empty, 41 cut`; nothing where no text has a flaw."""
        listed = ", ".join(f"{self.counts[flaw]:,} {flaw}" for flaw in self.found)
        return f"about {listed}" if listed and not self.exact else listed


def count_flaws(database: Database, job_id: int) -> FlawCounts:
    """The flaws of a job's texts as they stand: an edit in the place of what was generated."""
    texts = select(standing_text(), Output.finish_reason, REVISION > 0).select_from(Output)
    texts = texts.outerjoin(Review, Review.output_id == Output.id).outerjoin(Decision, standing_edit())
    counted: Counter[TextFlaw] = Counter()
    with database.read() as connection:
        sample = draw_sample(connection, job_id)
        with connection.execute(sample.chosen(texts), execution_options={"yield_per": FETCHED_ROWS}) as rows:
            for text, finish_reason, edited in rows:
                counted.update(text_flaws(text, finish_reason, edited=bool(edited)))
    counts = {flaw: round(counted[flaw] * sample.scale) for flaw in TextFlaw}
    return FlawCounts(counts=counts, exact=sample.complete)
