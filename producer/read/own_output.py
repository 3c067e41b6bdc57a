"""Our own output as input: the prompts in an export, or in the file of dead prompts beside it.

Knows the fields of such lines. What a user wrote into them besides, a setting say, counts as in any prompt file.
"""

from __future__ import annotations

from typing import Any

from contract.errors import Problem
from producer.read.row_parser import BadRow

OF_ALL = frozenset({"job", "position"})
OF_OUTPUTS = OF_ALL | {
    "id", "sample_index", "text", "finish_reason", "tokens", "seed", "mean_logprob", "scores", "classifier",
    "classifier_revision", "score_by", "deciding_sentences", "flagged", "flag_reasons", "review", "model", "revision",
    "dtype", "device", "torch", "engine", "settings", "isa", "threads", "processor", "numerics", "fitted",
    "copied_tokens", "logprobs", "redacted",
}  # fmt: skip
OF_LOST = OF_ALL | {"status", "code", "reason"}
"""What lines of each kind say beside `prompt`, `messages`, `custom_id` and `metadata`."""
NOTE = (
    "is an export: each of its prompts is taken once, with its custom_id and metadata; what says how the texts were "
    "made and judged (settings, seed, scores and the like) is left out, and settings are those of this command"
)
WITHOUT_PROMPTS = (
    "holds results in OpenAI's form, in which there are no prompts; submit the prompt file itself, or an export "
    "of the job as JSON lines, CSV or Parquet"
)

OUT_OF_ORDER = Problem("position", "goes back; sort the export by job and position, so that each prompt is taken once")


class OwnOutput:
    """The prompts of an export, as `export` wrote it: by position, a prompt's outputs together."""

    def __init__(self) -> None:
        self._last: tuple[object, object] | None = None

    def prompt_of(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """The fields of the prompt; None if the line before was an output of the same one.

        Raises:
            BadRow: the position goes back: taking each prompt once needs the order of the export.
        """
        known = kind_of(line)
        if known is None:
            return line
        if self.is_another_of_the_same(line["job"], line["position"]):
            return None
        made = {"prompt"} if line.get("messages") else set()  # from messages, by the model's chat template
        return {name: value for name, value in line.items() if name not in known | made}

    def is_another_of_the_same(self, job: object, position: object) -> bool:
        """Whether the prompt at this position is that of the line before.

        Raises:
            BadRow: the position goes back: taking each prompt once needs the order of the export.
        """
        if (job, position) == self._last:
            return True
        if self._goes_back(job, position):
            raise BadRow(OUT_OF_ORDER)
        self._last = job, position
        return False

    def _goes_back(self, job: object, position: object) -> bool:
        last_job, last = self._last or (None, None)
        return job == last_job and isinstance(position, int) and isinstance(last, int) and position < last


def kind_of(line: dict[str, Any]) -> frozenset[str] | None:
    """`OF_OUTPUTS` or `OF_LOST` if it is such a line, else None."""
    if line.keys() >= OF_ALL | {"prompt", "id", "sample_index", "text"}:
        return OF_OUTPUTS
    return OF_LOST if line.keys() >= OF_ALL | {"status", "reason", "prompt"} else None


def is_openai_result(line: dict[str, Any]) -> bool:
    """Whether it is a line of an export in OpenAI's form, or of OpenAI's own."""
    return line.keys() == {"id", "custom_id", "response", "error"}
