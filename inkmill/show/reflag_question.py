"""What a reflag would change, told before it is done, and whether to do it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import typer

from common.wording import counted
from contract.errors import UsageError
from db.jobs.reflag_preview import ReflagPreview
from inkmill.show.terminal import messages

SHOWN_REASONS = 5


def confirm_reflag(
    job_id: int, preview: ReflagPreview, words: Sequence[str] | None, *, yes: bool, command: str
) -> bool:
    """Says what a reflag would change, and asks. Returns whether to go on.

    Args:
        words: of its blocklist; None = it keeps the job's.
        yes: do not ask.
        command: what to type to do it unasked.

    Raises:
        UsageError: it would take flags off, and nobody is there to be asked.
    """
    messages.print(f"job {job_id}: {_changes(preview)}", markup=False)
    if words and not preview.listed:
        messages.print(
            f"note: none of the {counted(len(words), 'word')} of the blocklist is in any of the "
            f"{counted(preview.judged, 'scored text')}",
            markup=False,
        )
    if yes or not (preview.flagged or preview.unflagged or preview.reworded):
        return True
    if sys.stdin is not None and sys.stdin.isatty() and messages.is_terminal:
        return typer.confirm("apply it?", err=True)
    if preview.unflagged:
        raise UsageError(
            f"reflag: {counted(preview.unflagged, 'output')} would lose their flag, and there is no terminal to ask "
            f"on; nothing was changed. To apply it all the same: {command}"
        )
    return True


def _changes(preview: ReflagPreview) -> str:
    parts = [
        _part(preview.flagged, "would become flagged", preview.gained),
        _part(preview.unflagged, "would lose their flag", preview.lost),
        f"{preview.reworded:,} would stay flagged for other reasons" if preview.reworded else "",
    ]
    said = "; ".join(part for part in parts if part)
    return f"of {counted(preview.judged, 'scored output')} {said}" if said else "no flag would change"


def _part(outputs: int, what: str, reasons: Counter[str]) -> str:
    if not outputs:
        return ""
    shown = [f"{reason} {count:,}" for reason, count in reasons.most_common(SHOWN_REASONS)]
    more = len(reasons) - len(shown)
    shown += [counted(more, "more reason")] if more > 0 else []
    return f"{outputs:,} {what} ({', '.join(shown)})"
