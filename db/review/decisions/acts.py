"""Approving, rejecting, editing and undoing one output. Every decision is a new row of the record.

A decision locks its output first, so that of two that come at once the second sees the first, and is refused where it
was made without knowing of it.
"""

from __future__ import annotations

from sqlalchemy import Connection

from contract.errors import NoSuchOutput
from contract.review import LONGEST_REASON, Action, Seen, checked_name, checked_text
from db.flagging import BlocklistMatches, with_matches
from db.review.decisions.record import store_decisions
from db.review.decisions.rules import (
    StoredDecision,
    check_claim,
    check_version,
    earlier_decision,
    lock_outputs,
    newest_own_decision,
    next_step,
    read_action,
    stale_error,
    undo_step,
)
from db.search import search_words
from db.session.engine import Database


def decide(
    database: Database,
    output_id: int,
    reviewer: str,
    action: str,
    *,
    reason: str | None = None,
    text: str | None = None,
    expected: int | None = None,
    key: str | None = None,
    seen: Seen | None = None,
) -> StoredDecision:
    """Approves, rejects or edits an output.

    Args:
        text: what an edit puts in the generated text's place.
        expected: the version that the reviewer saw; None = whatever it is.
        key: drawn by the caller for this one decision. The same again stores nothing and answers as before, so that
            whoever did not hear the answer may ask again.
        seen: how the reviewer saw the text, for the record.

    Raises:
        NoSuchOutput: there is none with that id.
        Stale: somebody decided since the expected version; nothing was stored.
        ClaimedByOther: another reviewer has it in hand; nothing was stored.
        UsageError: this cannot be done to the output in its present state.
    """
    wanted = read_action(action, text)
    reviewer, reason = checked_name(reviewer), checked_text("reason", reason, LONGEST_REASON)
    words = None if text is None else search_words(text)

    def store(connection: Connection, matches: BlocklistMatches) -> StoredDecision:
        output = lock_outputs(connection, [output_id]).get(output_id)
        if output is None:
            raise NoSuchOutput(output_id)
        known = earlier_decision(connection, key, reviewer, output_id, wanted, text)
        if known is not None:
            return known
        check_version(connection, output, expected)
        check_claim(output, reviewer)
        step = next_step(output, wanted, reason=reason, text=text, words=words, key=key, seen=seen)
        return store_decisions(connection, reviewer, [step], matches)[0]

    return with_matches(database, store)


def undo(
    database: Database,
    reviewer: str,
    output_id: int | None = None,
    *,
    expected: int | None = None,
    key: str | None = None,
) -> StoredDecision:
    """Takes back the decision that stands: a new entry, after which the output is what it was before that one.

    Args:
        output_id: None = the output of the reviewer's own newest decision that was not undone.
        expected, key: as in `decide`.

    Raises:
        Stale: somebody decided since the expected version, or since the reviewer's own decision; so also where the
            decision is another reviewer's and no version is expected.
        NoSuchOutput: there is none with that id.
        ClaimedByOther: another reviewer has it in hand.
        UsageError: there is nothing to undo.
    """
    reviewer = checked_name(reviewer)

    def store(connection: Connection, matches: BlocklistMatches) -> StoredDecision:
        known = earlier_decision(connection, key, reviewer, output_id, Action.UNDO)
        if known is not None:
            return known
        target, own_decision = (output_id, None) if output_id is not None else newest_own_decision(connection, reviewer)
        output = lock_outputs(connection, [target]).get(target)
        if output is None:
            raise NoSuchOutput(target)
        known = earlier_decision(connection, key, reviewer, target, Action.UNDO)
        if known is not None:
            return known
        check_version(connection, output, expected)
        # Who does not say what they have seen can only mean a decision of their own.
        of_another = expected is None and output.decided_by not in (None, reviewer)
        if of_another or (own_decision is not None and output.decision_id != own_decision):
            raise stale_error(connection, output)
        check_claim(output, reviewer)
        return store_decisions(connection, reviewer, [undo_step(connection, output, key)], matches)[0]

    return with_matches(database, store)
