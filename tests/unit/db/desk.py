"""A reviewer's desk in miniature: outputs with the scores a test says, and a worker that scores what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update

from contract.blocklist import Blocklist
from contract.review import Filter, State
from contract.spec import PromptRow
from db.jobs.jobs import get_job, list_jobs
from db.models import Output
from db.results.export_rows import reading_judged_results
from db.review.detail import OutputDetail, read_output
from db.review_models import NO_SCORE, Decision, Review, ReviewClaim
from db.work.claims import finish_scoring
from db.work.outputs import ScoredText, give_up_scoring, texts_to_score
from db.work.request_claims import claim_request, save_edit_scores
from tests.unit.db.mill import LEASE, Mill, text_of


class Desk(Mill):
    """A mill whose texts and scores a test chooses."""

    def outputs_of(
        self,
        scores: Sequence[float | Mapping[str, float]],
        texts: Sequence[str] | None = None,
        prompts: Sequence[str] | None = None,
        custom_ids: Sequence[str | None] | None = None,
        metadata: Sequence[dict[str, Any] | None] | None = None,
        **spec: Any,
    ) -> list[int]:
        """A finished job of one output a prompt, with these scores (a number is the toxicity). Their ids, in order."""
        rows = [
            PromptRow(
                position=i,
                prompt=prompts[i] if prompts else f"prompt {i}",
                n=1,
                custom_id=custom_ids[i] if custom_ids else None,
                metadata=metadata[i] if metadata else None,
            )
            for i in range(len(scores))
        ]
        job = self.submit(rows, batch_size=max(len(rows), 1), **spec)
        claim = self.claim()
        self.save(claim, [text_of(w, i, texts[w.position] if texts else None) for w, i in self.missing(claim)])
        if self.finish(claim):
            scoring = self.claim_texts()
            said = [one if isinstance(one, Mapping) else {"toxicity": one} for one in scores]
            waiting = texts_to_score(self.database, scoring)
            blocklist = Blocklist(get_job(self.database, job).blocklist)
            verdicts = [
                ScoredText(output_id=text.output_id, scores=some, blocked=tuple(blocklist.find(text.text)))
                for text, some in zip(waiting, said, strict=True)
            ]
            self.save_verdicts(scoring, verdicts)
            finish_scoring(self.database, scoring)
        return [row.id for row in self.outputs(job)]

    def unscored(self) -> int:
        """An output of a job of its own that no classifier could score."""
        self.submit(1)
        self.finish(self.claim())
        scoring = self.claim_texts()
        (lost,) = texts_to_score(self.database, scoring)
        give_up_scoring(self.database, scoring, lost.output_id)
        finish_scoring(self.database, scoring)
        return lost.output_id

    def score_edits(self, **scores: float) -> int:
        """Scores what is asked for, as a worker does. Returns how many edits."""
        done = 0
        while claim := claim_request(self.database, "worker-1", ["demo"], LEASE):
            save_edit_scores(self.database, claim, scores or {"toxicity": 0.1}, "rev-c")
            done += 1
        return done

    def look(self, output_id: int) -> OutputDetail:
        return read_output(self.database, output_id)

    def state(self, output_id: int) -> State:
        return self.look(output_id).state

    def record(self) -> list[Any]:
        """Every entry, oldest first."""
        with self.database.read() as connection:
            return list(connection.execute(select(Decision.__table__).order_by(Decision.id)))

    def exported(self, only: str) -> list[int]:
        """What of all jobs an export with `--only` gives, in the order of numbers."""
        found: list[int] = []
        for job in list_jobs(self.database):
            with reading_judged_results(self.database, job) as results:
                found += [output.id for output in results.outputs((only,))]
        return sorted(found)

    def claims(self) -> dict[int, str]:
        with self.database.read() as connection:
            return {row.output_id: row.reviewer for row in connection.execute(select(ReviewClaim.__table__))}

    def let_claims_run_out(self) -> None:
        with self.database.write() as connection:
            connection.execute(update(ReviewClaim).values(until=1.0))

    def assert_in_step(self) -> None:
        """`reviews` says of every output what `outputs` and the record say."""
        with self.database.read() as connection:
            rows = {row.output_id: row for row in connection.execute(select(Review.__table__))}
            newest: dict[int, int] = {}
            for entry in connection.execute(select(Decision.__table__).order_by(Decision.id)):
                newest[entry.output_id] = entry.id
            for output in connection.execute(select(Output.__table__)):
                row = rows.get(output.id)
                assert (row is not None) or not (output.flagged or output.decision), f"output {output.id} is missing"
                if row is None:
                    assert output.id not in newest
                    continue
                assert bool(row.flagged) == bool(output.flagged), output.id
                if output.top_score is not None or not row.revision:  # else an edit keeps the place that its text had
                    assert row.top_score == (NO_SCORE if output.top_score is None else output.top_score), output.id
                assert row.version == newest.get(output.id, 0), output.id
                said = {"approved": "approve", "rejected": "reject", "edited": "edit", "waiting": "waiting"}
                assert output.decision == said.get(row.state), (output.id, row.state, output.decision)
                if row.state in ("pending", "unflagged"):
                    assert (row.state == "pending") == bool(output.flagged), output.id


PENDING = Filter()
