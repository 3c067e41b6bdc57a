"""What an export says of one output, or of one prompt without any: the fields, in the order of an export line.

Knows no file; the writers lay these fields out in their forms.
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
"""The columns of every table, whatever the job asked for: `scores` has one for each label."""

_JSON_COLUMNS = ("review", "metadata", "settings", "logprobs")


class Lines:
    """Makes the export lines of one job.

    Where flagged texts, and those not scored yet, are withheld, every line ends in `redacted`; in the lines where it
    is true, `text` and `logprobs` (the text's own tokens) are null. A flagged text that a person approved is not
    withheld. An edited text stands in place of the generated one; tokens, seed and log probability tell of that one.
    """

    def __init__(self, job_id: int, *, redact: bool) -> None:
        self.job_id = job_id
        self._redact = redact
        self._settings = BoundedMemo[SamplingSettings, dict[str, Any]]()

    def redacted(self, output: StoredOutput) -> bool:
        """Whether the output's text is withheld."""
        unjudged = output.safety == Safety.WAITING or output.decision == WAITING_EDIT  # it may turn out flagged
        return self._redact and (output.flagged or unjudged) and output.decision not in APPROVING

    def of(self, output: StoredOutput) -> dict[str, Any]:
        """The output's line. `logprobs` are in it where its settings asked for them."""
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
        """The decision that stands. Where flagged texts are withheld, so is the text that somebody saw fit to edit."""
        stands = output.review
        if stands is None:
            return None
        return {
            "decision": stands.action,
            "by": stands.by,
            "at": iso(stands.at),
            "reason": stands.reason,
            "original_text": None if self._redact else stands.original_text,
        }

    def cells(self, output: StoredOutput) -> list[Any]:
        """The output's line as a row of a table, a value for each of `COLUMNS`; what is nested is JSON text."""
        line = self.of(output)
        scores: Mapping[str, float] = line["scores"]
        line.update((f"score_{label}", score) for label, score in scores.items())
        line.setdefault("redacted", False)
        for name in _JSON_COLUMNS:
            value = line.get(name)
            line[name] = None if value is None else orjson.dumps(value).decode()
        return [line.get(name) for name in COLUMNS]

    def _settings_of(self, settings: SamplingSettings) -> dict[str, Any]:
        # Rows mostly differ in nothing but their own seeds.
        common = settings if settings.seed is None else replace(settings, seed=None)
        known = self._settings.get(common, common.to_dict, lambda values: len(orjson.dumps(values)))
        return known if settings.seed is None else {**known, "seed": settings.seed}


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
    """The line as JSON bytes, with its line ending."""
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Metadata may be nested as deep as orjson goes; inside the line it would be one level deeper.
        whole = line | {"metadata": orjson.Fragment(orjson.dumps(line["metadata"]))}
        return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)
