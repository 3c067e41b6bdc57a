"""The lines of an export: the fields of one output, or of one dead or cancelled prompt, in order.

Knows no file; the writers put these fields into their formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from common.bounded_memo import BoundedMemo
from common.times import iso
from contract.policy import LABELS
from contract.spec import Safety, SamplingSettings
from db.results.export_rows import APPROVING, WAITING_EDIT, LostPrompt, StoredOutput

COLUMNS = (
    "id", "job", "custom_id", "position", "sample_index", "prompt", "text", "finish_reason", "tokens", "seed",
    "mean_logprob", *(f"score_{label}" for label in LABELS), "classifier", "classifier_revision", "flagged",
    "flag_reasons", "review", "metadata", "model", "revision", "dtype", "device", "torch", "engine", "settings",
    "isa", "threads", "processor", "numerics", "logprobs", "redacted",
)  # fmt: skip
"""The columns of every table, whatever the job's settings; `scores` becomes one column for each label."""

_JSON_COLUMNS = ("review", "metadata", "settings", "logprobs")


class ExportLines:
    """Makes the export lines of one job.

    A redacted export withholds flagged texts, unless a person approved them, and texts that are not scored yet: every
    line ends in `redacted` and, where that is true, `text` and `logprobs` (which contain the tokens) are null.
    An edited text replaces the generated one; tokens, seed and log probability remain those of the generated one.
    """

    def __init__(self, job_id: int, *, redact: bool) -> None:
        self.job_id = job_id
        self._redact = redact
        self._settings = BoundedMemo[SamplingSettings, dict[str, Any]]()

    def redacted(self, output: StoredOutput) -> bool:
        """Whether the output's text is withheld."""
        unscored = output.safety == Safety.WAITING or output.decision == WAITING_EDIT  # it may yet be flagged
        return self._redact and (output.flagged or unscored) and output.decision not in APPROVING

    def line_of(self, output: StoredOutput) -> dict[str, Any]:
        """The output's line. It has `logprobs` if the output's settings asked for them."""
        redacted = self.redacted(output)
        line = {
            "id": output.id,
            "job": self.job_id,
            "custom_id": output.custom_id,
            "position": output.position,
            "sample_index": output.sample_index,
            "prompt": output.prompt,
            "text": None if redacted else output.text,
            "finish_reason": output.finish_reason,
            "tokens": output.tokens,
            "seed": output.seed,
            "mean_logprob": output.mean_logprob,
            "scores": output.scores,
            "classifier": output.classifier,
            "classifier_revision": output.classifier_revision,
            "flagged": output.flagged,
            "flag_reasons": output.flag_reasons,
            "review": self._review(output),
            "metadata": output.metadata,
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
        if output.settings.logprobs:
            line["logprobs"] = None if redacted else output.logprobs
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

    def cells(self, output: StoredOutput) -> list[Any]:
        """The output's line as a row of a table, with a value for each of `COLUMNS`; nested values become JSON text."""
        line = self.line_of(output)
        scores: Mapping[str, float] = line["scores"]
        line.update((f"score_{label}", score) for label, score in scores.items())
        line.setdefault("redacted", False)
        for name in _JSON_COLUMNS:
            value = line.get(name)
            line[name] = None if value is None else orjson.dumps(value).decode()
        return [line.get(name) for name in COLUMNS]

    def _settings_of(self, settings: SamplingSettings) -> dict[str, Any]:
        # Cached without the seed, which is often all that differs between rows.
        without_seed = settings if settings.seed is None else replace(settings, seed=None)
        as_dict = self._settings.get(without_seed, without_seed.to_dict, lambda values: len(orjson.dumps(values)))
        return as_dict if settings.seed is None else {**as_dict, "seed": settings.seed}


def lost_line(job_id: int, prompt: LostPrompt) -> dict[str, Any]:
    """The line of a dead or cancelled prompt."""
    return {
        "job": job_id,
        "custom_id": prompt.custom_id,
        "position": prompt.position,
        "prompt": prompt.prompt,
        "status": prompt.status,
        "reason": prompt.reason,
        "metadata": prompt.metadata,
    }


def json_line(line: dict[str, Any]) -> bytes:
    """The line as JSON bytes, with a line ending."""
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Metadata may be nested as deeply as orjson allows, and is one level deeper inside the line.
        line_with_raw_metadata = line | {"metadata": orjson.Fragment(orjson.dumps(line["metadata"]))}
        return orjson.dumps(line_with_raw_metadata, option=orjson.OPT_APPEND_NEWLINE)
