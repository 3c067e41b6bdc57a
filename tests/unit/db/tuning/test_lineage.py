"""The way of a stored text back: what wrote it, and which outputs and decisions that model was taught."""

from __future__ import annotations

import pytest

from contract.errors import NoSuchOutput
from contract.review import Action
from db.review.decisions.acts import decide
from db.session.engine import Database
from db.tuning.lineage import count_learned, learned_outputs, written_output
from db.tuning.tunings import NewTuning, TuningSource, insert_tuning
from tests.unit.db.mill import MADE_BY, Mill


def test_an_output_tells_what_wrote_it(database: Database) -> None:
    mill = Mill(database)
    job = mill.submit(1, n=2)
    mill.work_off()
    second = mill.outputs(job)[1]
    found = written_output(database, second.id)
    assert (found.job, found.position, found.sample_index, found.seed) == (job, 0, 1, second.seed)
    assert (found.model, found.revision) == (MADE_BY.model, MADE_BY.revision)
    with pytest.raises(NoSuchOutput):
        written_output(database, 99)


def test_a_tuning_tells_which_outputs_and_decisions_it_learned_from(database: Database) -> None:
    mill = Mill(database)
    job = mill.submit(3)
    mill.work_off()
    first, second, third = (row.id for row in mill.outputs(job))
    decision = decide(database, second, "ann", Action.APPROVE, reason="good")
    sources = [TuningSource(output_id=third), TuningSource(output_id=second, revision=1, decision_id=decision.id)]
    number = insert_tuning(database, NewTuning(name="tales", base="demo", order={}, folder="/x"), sources)
    other = insert_tuning(database, NewTuning(name="tales", base="demo", order={}, folder="/x"))
    learned = learned_outputs(database, number)
    assert [(one.id, one.job, one.model, one.revision) for one in learned] == [
        (second, job, "demo", 1), (third, job, "demo", 0)
    ]  # fmt: skip
    assert learned[1].decision is None
    stood = learned[0].decision
    assert stood and (stood.id, stood.action, stood.by, stood.reason) == (decision.id, "approve", "ann", "good")
    assert learned_outputs(database, number, limit=1) == learned[:1]
    assert (count_learned(database, number), count_learned(database, other)) == (2, 0)
    assert first not in {one.id for one in learned}
