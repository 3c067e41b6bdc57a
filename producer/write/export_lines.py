"""The lines of an export: the fields of one output, or of one dead or cancelled prompt, in order.

What is empty is null, never {} or []: Parquet has no type for an object without fields, so pandas, polars and Arrow
could not write what they read. Only what a user put into metadata stays as it was. Knows no file; the writers put these
fields into their formats.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from common.bounded_memo import BoundedMemo
from common.times import iso
from contract.spec import Safety, SamplingSettings
from db.results.export_rows import APPROVING, WAITING_EDIT, LostPrompt, StoredOutput


class ExportLines:
    """Makes the export lines of one job.

    A redacted export withholds flagged texts, unless a person approved them, and texts that are not scored yet: every
    line ends in `redacted` and, where that is true, `text` and `logprobs` (which contain the tokens) are null.
    An edited text replaces the generated one; tokens, seed and log probability remain those of the generated one.
    """

    def __init__(self, job_id: int, *, redact: bool, made_up_ids: str = "") -> None:
        """
        Args:
            made_up_ids: what a made-up custom_id begins with; its position follows.
        """
        self.job_id = job_id
        self._redact, self._made_up_ids = redact, made_up_ids
        self._settings = BoundedMemo[SamplingSettings, dict[str, Any]]()

    def custom_id(self, row: StoredOutput | LostPrompt) -> str:
        """The prompt's custom_id, or a made-up one, for formats in which each prompt has one."""
        return f"{self._made_up_ids}{row.position}" if row.custom_id is None else row.custom_id

    def redacted(self, output: StoredOutput) -> bool:
        """Whether the output's text is withheld."""
        unscored = output.safety == Safety.WAITING or output.decision == WAITING_EDIT  # it may yet be flagged
        return self._redact and (output.flagged or unscored) and output.decision not in APPROVING

    def line_of(self, output: StoredOutput) -> dict[str, Any]:
        """The output's line. It has `messages` if its row had; `fitted`, `logprobs` if its settings asked for them; and
        `copied_tokens` if they were counted."""
        redacted = self.redacted(output)
        line: dict[str, Any] = {
            "id": output.id,
            "job": self.job_id,
            "custom_id": output.custom_id,
            "position": output.position,
            "sample_index": output.sample_index,
            "prompt": output.prompt if output.sent is None else output.sent,
            "text": None if redacted else output.text,
            "finish_reason": output.finish_reason,
            "tokens": output.tokens,
            "seed": output.seed,
            "mean_logprob": output.mean_logprob,
            "scores": output.scores or None,
            "classifier": output.classifier,
            "classifier_revision": output.classifier_revision,
            "score_by": output.score_by,
            "deciding_sentences": output.deciding,
            "flagged": output.flagged,
            "flag_reasons": output.flag_reasons or None,
            "review": self._review(output),
            "metadata": output.metadata or None,
            "model": output.model,
            "revision": output.revision,
            "dtype": output.dtype,
            "device": output.device,
            "torch": output.torch,
            "engine": output.engine,
            "settings": self._settings_of(output.settings),
            "isa": output.isa,
            "threads": output.threads,
            "processor": output.processor,
            "numerics": output.numerics,
        }
        if output.messages:
            line["messages"] = output.messages
        if output.settings.on_too_long != "refuse":
            line["fitted"] = output.fitted
        if output.copied_tokens is not None:
            line["copied_tokens"] = output.copied_tokens
        if output.settings.logprobs:
            line["logprobs"] = None if redacted else output.logprobs or None
        if self._redact:
            line["redacted"] = redacted
        return line

    def _review(self, output: StoredOutput) -> dict[str, Any] | None:
        """The decision in force. A redacted export also withholds the text from before an edit."""
        review = output.review
        if review is None:
            return None
        return {
            "decision": review.action,
            "by": review.by,
            "at": iso(review.at),
            "reason": review.reason,
            "original_text": None if self._redact else review.original_text,
        }

    def _settings_of(self, settings: SamplingSettings) -> dict[str, Any]:
        # Cached without the seed, which is often all that differs between rows.
        without_seed = settings if settings.seed is None else replace(settings, seed=None)
        as_dict = self._settings.get(
            without_seed, lambda: _without_empty(without_seed.to_dict()), lambda values: len(orjson.dumps(values))
        )
        return as_dict if settings.seed is None else {**as_dict, "seed": settings.seed}


def _without_empty(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value in ([], {}) else value for name, value in settings.items()}
