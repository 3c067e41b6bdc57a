"""Texts and scores: what of a claimed batch is still missing, and saving it under the claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from contract.blocklist import blocklist_digest
from contract.failures import FailureCode
from contract.policy import LABELS, UNSCORED, ScoreBy, flag_reasons, top_score
from contract.spec import BatchStatus, Messages, PromptStatus, Provenance, Safety
from db.flagging import BlocklistMatches, flag_outputs, with_matches
from db.models import Batch, Job, Output, Prompt, Score
from db.models import Provenance as ProvenanceTable
from db.review_models import Review
from db.review_sync import sync_reviews
from db.search import output_words
from db.search_index import index_words
from db.session.dialect import insert_or
from db.session.engine import Database, now
from db.session.row_locks import lock_rows
from db.standing import REVISION
from db.work.batches import recount
from db.work.claims import Claim, fence
from db.work.lease import LeaseLost, PolicyChanged, shortened
from db.work.to_score import TO_SCORE

FAULTS_BEFORE_DEAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class IncompletePrompt:
    """A prompt of a claimed batch with the samples that are not stored yet."""

    prompt_id: int
    position: int
    custom_id: str | None
    prompt: str
    messages: Messages | None
    sent: str | None  # what the chat template made of them, if it has
    settings: dict[str, Any] | None
    missing: tuple[int, ...]
    faults: int  # how often it failed by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedText:
    """One generated text, ready to be stored."""

    prompt_id: int
    sample_index: int
    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int
    seed: int
    mean_logprob: float | None
    logprobs: list[Any] | None = None
    fitted: dict[str, int] | None = None  # what was really used, where `on_too_long` made it fit
    copied_tokens: int | None = None  # the longest run that stands in the model's training text, where that is known


def incomplete_prompts(database: Database, claim: Claim) -> list[IncompletePrompt]:
    """The prompts of a claimed batch that lack outputs, in the file's order."""
    here = (Prompt.batch_id == claim.batch_id) & (Prompt.status == PromptStatus.PENDING)
    with database.read() as connection:
        prompts = connection.execute(
            select(
                Prompt.id,
                Prompt.position,
                Prompt.custom_id,
                Prompt.prompt,
                Prompt.messages,
                Prompt.sent,
                Prompt.settings,
                Prompt.n,
                Prompt.faults,
            )
            .where(here)
            .order_by(Prompt.position)
        ).all()
        stored = connection.execute(
            select(Output.prompt_id, Output.sample_index).join(Prompt, Prompt.id == Output.prompt_id).where(here)
        ).all()
    have = {(row.prompt_id, row.sample_index) for row in stored}
    work = []
    for row in prompts:
        missing = tuple(index for index in range(row.n) if (row.id, index) not in have)
        if missing:
            work.append(
                IncompletePrompt(
                    prompt_id=row.id,
                    position=row.position,
                    custom_id=row.custom_id,
                    prompt=row.prompt,
                    messages=row.messages,
                    sent=row.sent,
                    settings=row.settings,
                    missing=missing,
                    faults=row.faults,
                )
            )
    return work


def provenance_id(database: Database, provenance: Provenance) -> int:
    """The row that says what makes these outputs, made at its first use."""
    values = {f.name: getattr(provenance, f.name) for f in fields(provenance)}
    same = [ProvenanceTable.__table__.c[name] == value for name, value in values.items()]
    with database.write() as connection:
        connection.execute(insert_or(connection, ProvenanceTable).on_conflict_do_nothing(), values)
        return connection.execute(select(ProvenanceTable.id).where(*same)).scalar_one()


def save_texts(
    database: Database,
    claim: Claim,
    texts: Sequence[GeneratedText],
    provenance: int,
    *,
    scored_later: bool,
    sent: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Stores generated texts of a claimed batch, all of them or none.

    Args:
        sent: by prompt, what the model was sent of its messages; what an earlier save has stored stands.

    Raises:
        LeaseLost: where the claim is not this worker's any more; nothing is stored then.
    """
    if not texts:
        return
    safety = Safety.WAITING if scored_later else Safety.NONE
    shared = {
        "job_id": claim.job_id,
        "provenance_id": provenance,
        "safety": safety.value,
    }
    rows = [shared | {f.name: getattr(text, f.name) for f in fields(text)} for text in texts]
    words = _searched(database, texts)
    with database.write() as connection:
        fence(connection, claim, BatchStatus.GENERATING, expiries=0, **_counted(texts))
        inserting = insert_or(connection, Output).on_conflict_do_nothing().values(created_at=now())
        returned = (Output.id, Output.prompt_id, Output.sample_index)
        stored = connection.execute(inserting.returning(*returned), rows).all()
        index_words(connection, "output_words", ((row.id, words[row.prompt_id, row.sample_index]) for row in stored))
        if len(stored) < len(texts):  # the others were there already, and were counted when they came
            fresh = {(row.prompt_id, row.sample_index): row for row in stored}
            twins = [text for text in texts if fresh.pop((text.prompt_id, text.sample_index), None) is None]
            connection.execute(update(Batch).where(Batch.id == claim.batch_id).values(_counted(twins, -1)))
        if sent:
            first = update(Prompt).where(Prompt.id == bindparam("sent_of"), Prompt.sent.is_(None))
            rows = [{"sent_of": prompt_id, "text": text} for prompt_id, text in sent.items()]
            connection.execute(first.values(sent=bindparam("text")), rows)
        if claim.alone:  # a save clears what it saved
            saved = {text.prompt_id for text in texts}
            connection.execute(update(Prompt).where(Prompt.id.in_(saved)).values(deaths=0))


def _searched(database: Database, texts: Sequence[GeneratedText]) -> dict[tuple[int, int], str]:
    """The words that a search finds each text by; read before the transaction, which others wait for."""
    columns = (Prompt.id, Prompt.custom_id, Prompt.prompt, Prompt.extra.label("extra"))
    with database.read() as connection:
        query = select(*columns).where(Prompt.id.in_({text.prompt_id for text in texts}))
        prompts = {row.id: row for row in connection.execute(query)}
    return {
        (text.prompt_id, text.sample_index): output_words(prompt.custom_id, prompt.prompt, text.text, prompt.extra)
        for text in texts
        if (prompt := prompts.get(text.prompt_id))
    }


def _counted(texts: Sequence[GeneratedText], sign: int = 1) -> dict[str, Any]:
    """What a batch's counters are to become for these texts: `sign` 1 = with them, -1 = without."""
    return {
        "generated": Batch.generated + sign * len(texts),
        "generated_tokens": Batch.generated_tokens + sign * sum(text.tokens for text in texts),
        "prompt_tokens": Batch.prompt_tokens + sign * sum(t.prompt_tokens for t in texts if t.sample_index == 0),
    }


def record_fault(
    database: Database,
    claim: Claim,
    prompt_id: int,
    reason: str,
    *,
    number: int,
    certain: bool,
    code: FailureCode = FailureCode.ENGINE_ERROR,
) -> bool:
    """An error of the prompt's own. Returns whether the prompt is dead now: at the third, or at once if it would recur.

    Args:
        number: which of its faults this is, the first is 1. The caller counts, as nobody else does while it holds the
            claim: a commit whose answer was lost is made again, and must not count again.
        certain: the prompt would fail so every time.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    with database.write() as connection:
        fence(connection, claim, BatchStatus.GENERATING, expiries=0)
        counted = update(Prompt).where(Prompt.id == prompt_id).values(faults=number)
        status = connection.execute(counted.returning(Prompt.status)).scalar_one()
        if not certain and number < FAULTS_BEFORE_DEAD:
            return bool(status == PromptStatus.DEAD)
        dying = update(Prompt).where(Prompt.id == prompt_id, Prompt.status == PromptStatus.PENDING)
        dead = {"status": PromptStatus.DEAD.value, "reason": shortened(reason), "code": code.value}
        if connection.execute(dying.values(dead)).rowcount:
            connection.execute(update(Batch).where(Batch.id == claim.batch_id).values(dead=Batch.dead + 1))
    return True


@dataclass(frozen=True, slots=True)
class UnscoredText:
    """A stored text that waits for its scores."""

    output_id: int
    text: str
    faults: int  # how often scoring it alone failed


def texts_to_score(database: Database, claim: Claim) -> list[UnscoredText]:
    """The texts of a claimed batch that have no scores yet, and those that are scored again."""
    query = (
        select(Output.id, Output.text, Output.score_faults)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .where(Prompt.batch_id == claim.batch_id, TO_SCORE)
        .order_by(Output.id)
    )
    with database.read() as connection:
        return [UnscoredText(row.id, row.text, row.score_faults) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """One text's scores and the blocklist's words found in it."""

    output_id: int
    scores: Mapping[str, float]
    deciding: Mapping[str, tuple[int, int]] | None = None  # by label, the sentence that has its score; None = by window
    blocked: tuple[str, ...] = ()


def save_scores(
    database: Database,
    claim: Claim,
    verdicts: Sequence[ScoredText],
    blocklist: Sequence[str],
    *,
    classifier: str,
    classifier_revision: str,
    score_by: ScoreBy = ScoreBy.WINDOW,
) -> None:
    """Stores scores of a claimed batch and flags what is over a threshold, all of them or none.

    New scores take the place of old ones where texts are scored again; an edit that stands keeps its own.

    The policy is the job's at this moment, and stays so until the scores are stored: a reflag at the same time comes
    wholly before, or finds these scores and flags them anew.

    Args:
        blocklist: what the verdicts' texts were matched against.

    Raises:
        PolicyChanged: where that is not the job's blocklist any more; nothing is stored then.
        LeaseLost: where the claim is not this worker's any more, or another revision of the classifier scores the job
            by now, or it scores by something else; nothing is stored then.
    """
    if not verdicts:
        return
    matched_against = blocklist_digest(blocklist)

    def store(connection: Connection, matches: BlocklistMatches) -> None:
        there = _to_be_scored(connection, claim, [verdict.output_id for verdict in verdicts])
        fence(connection, claim, BatchStatus.SCORING, expiries=0)
        columns = (Job.thresholds, Job.blocklist_digest, Job.served_classifier_revision, Job.score_by)
        job = select(*columns).where(Job.id == claim.job_id)
        thresholds, of_now, served, scored_by = connection.execute(job.with_for_update(read=True)).one()
        if served not in (None, classifier_revision):
            raise LeaseLost(f"job {claim.job_id} is scored by another revision of {classifier} by now")
        if scored_by != score_by:
            raise LeaseLost(f"job {claim.job_id} is scored by {scored_by} by now")
        if of_now != matched_against:
            raise PolicyChanged(f"the blocklist of job {claim.job_id} changed while its texts were scored")
        made_by = {"classifier": classifier, "classifier_revision": classifier_revision, "score_by": score_by.value}
        wanted = [verdict for verdict in verdicts if verdict.output_id in there]
        if not wanted:
            return
        _store_scores(connection, wanted, made_by)
        edited = [row.id for row in there.values() if row.edited]  # few, and mostly none
        plain = [(v, flag_reasons(v.scores, thresholds, v.blocked)) for v in wanted if not there[v.output_id].edited]
        if plain:
            _flag(connection, plain)
        if edited:
            connection.execute(update(Output).where(Output.id.in_(edited)).values(safety=Safety.SCORED.value))
            flag_outputs(connection, edited, matches)
        counted = _newly_counted(there, plain)
        connection.execute(update(Batch).where(Batch.id == claim.batch_id).values(counted))
        listed = {row.id for row in there.values() if row.listed}
        sync_reviews(connection, listed | {verdict.output_id for verdict, why in plain if why})

    with_matches(database, store)


def _newly_counted(there: Mapping[int, Any], plain: Sequence[tuple[ScoredText, list[str]]]) -> dict[str, Any]:
    """A batch's new counters, but for the flags of edited texts, which `flag_outputs` counts."""
    fresh = sum(row.safety == Safety.WAITING for row in there.values())
    flagged = sum(bool(why) - bool(there[verdict.output_id].flagged) for verdict, why in plain)
    return {"scored": Batch.scored + fresh, "flagged": Batch.flagged + flagged}


def _to_be_scored(connection: Connection, claim: Claim, outputs: Sequence[int]) -> dict[int, Any]:
    """Those of a claimed batch's texts that are to be scored: a save may come twice, after an answer was lost.

    They are locked, before their batch, as decisions and reflags lock them. Each with whether people look at it
    already: what was decided of a text stays when it gets scores; and whether an edit stands in its place.
    """
    these = (Output.id.in_(outputs), Output.prompt_id == Prompt.id, Prompt.batch_id == claim.batch_id, TO_SCORE)
    lock_rows(connection, Output, *these)
    # Only now: of a row that PostgreSQL had to wait for, the statement that locks it reads the rows joined to it as
    # they were before.
    query = (
        select(Output.id, Output.safety, Output.flagged, Review.output_id.is_not(None).label("listed"),
               (REVISION > 0).label("edited"))
        .select_from(Output)
        .outerjoin(Review, Review.output_id == Output.id)
        .where(*these)
    )  # fmt: skip
    return {row.id: row for row in connection.execute(query)}


def _store_scores(connection: Connection, verdicts: Sequence[ScoredText], made_by: Mapping[str, str]) -> None:
    storing = insert_or(connection, Score).values(created_at=now(), revision=0)
    new = {
        name: storing.excluded[name] for name in (*LABELS, "classifier_revision", "score_by", "deciding", "created_at")
    }
    connection.execute(
        storing.on_conflict_do_update(index_elements=["output_id", "revision", "classifier"], set_=new),
        [
            {**made_by, "output_id": v.output_id, "deciding": v.deciding, **{n: v.scores.get(n) for n in LABELS}}
            for v in verdicts
        ],
    )


def _flag(connection: Connection, judged: Sequence[tuple[ScoredText, list[str]]]) -> None:
    connection.execute(
        update(Output).where(Output.id == bindparam("output")),
        [
            {
                "output": verdict.output_id,
                "safety": Safety.SCORED.value,
                "flagged": bool(why),
                "flag_reasons": why or None,
                "top_score": top_score(verdict.scores),
            }
            for verdict, why in judged
        ],
    )


def count_scoring_attempt(database: Database, claim: Claim, output_id: int, number: int) -> None:
    """Counts an attempt to score a text alone, before it is made: the attempt may take the process down.

    Args:
        number: which attempt it is, the first is 1; `record_fault` says why the caller counts.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    with database.write() as connection:
        _to_be_scored(connection, claim, [output_id])  # locked before its batch
        fence(connection, claim, BatchStatus.SCORING)
        connection.execute(update(Output).where(Output.id == output_id).values(score_faults=number))


def give_up_scoring(database: Database, claim: Claim, output_id: int) -> None:
    """Flags a text as unscored: never clean, and settled. Scores of before, where it was to be scored again, go.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    with database.write() as connection:
        found = _to_be_scored(connection, claim, [output_id])
        fence(connection, claim, BatchStatus.SCORING, expiries=0)
        for row in found.values():
            given_up: dict[str, Any] = {"safety": Safety.UNSCORED.value}
            if not row.edited:  # an edit is flagged by its own scores
                given_up |= {"flagged": True, "flag_reasons": [UNSCORED], "top_score": None}
            connection.execute(update(Output).where(Output.id == output_id).values(given_up))
            connection.execute(delete(Score).where(Score.output_id == output_id, Score.revision == 0))
        sync_reviews(connection, [output_id])
        recount(connection, [claim.batch_id])
