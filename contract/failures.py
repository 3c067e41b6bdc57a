"""Why prompts die: one short code for each kind of reason, and what a retry can do about it.

Codes are a contract: they are stored, exported and shown, and never change. Reasons are sentences for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.near_misses import did_you_mean
from contract.errors import UsageError


class FailureCode(StrEnum):
    """The kind of reason for which a prompt is dead."""

    TOO_LONG = "too-long"  # it and its max_new_tokens do not fit the model's window
    BAD_PROMPT = "bad-prompt"  # no valid text, empty where the model cannot start from nothing, or not for its template
    NO_CHAT_TEMPLATE = "no-chat-template"  # it is messages, and the model has no template to make a prompt of them
    BAD_SETTINGS = "bad-settings"  # its settings cannot be used with this model
    WRONG_TOKENIZER = "wrong-tokenizer"  # the tokenizer in the model's folder belongs to another model
    OUT_OF_MEMORY = "out-of-memory"  # alone it needs more memory than there is
    ENGINE_ERROR = "engine-error"  # the engine failed on it, and on nothing else
    KILLED_WORKER = "killed-worker"  # processes died while they wrote its text alone
    UNKNOWN = "unknown"  # it died in a version that knew no codes


@dataclass(frozen=True, slots=True)
class Remedy:
    """What may help prompts that died of one code."""

    advice: str  # for people
    retry: tuple[str, ...] | None = ()  # options with which `retry` may help; None = it cannot


_MEMORY = "a worker with more memory, or fewer tokens, may manage"
REMEDIES: dict[FailureCode, Remedy] = {
    FailureCode.TOO_LONG: Remedy(
        "retry them with --on-too-long truncate-left, truncate-right or shorten (messages are never cut: their texts "
        "get shorter), or with fewer --max-new-tokens",
        ("--on-too-long", "truncate-left"),  # shorten does not help where a prompt fills the window by itself
    ),
    FailureCode.BAD_PROMPT: Remedy("correct the prompts in an export's .errors.jsonl, and submit that", None),
    FailureCode.NO_CHAT_TEMPLATE: Remedy("submit the file with a --model that was tuned to chat", None),
    FailureCode.BAD_SETTINGS: Remedy("retry them with other settings, or submit them anew", None),
    FailureCode.WRONG_TOKENIZER: Remedy(
        "put the model's own tokenizer into its folder, then retry with --any-worker", None
    ),
    FailureCode.OUT_OF_MEMORY: Remedy(_MEMORY),
    FailureCode.ENGINE_ERROR: Remedy("a retry may help if the error was of the moment"),
    FailureCode.KILLED_WORKER: Remedy("a retry may help; if the worker ran out of memory, " + _MEMORY),
    FailureCode.UNKNOWN: Remedy("a retry may help"),
}


def parse_code(code: str) -> FailureCode:
    """The code that a user typed.

    Raises:
        UsageError: there is none of that name.
    """
    if code not in list(FailureCode):
        hint = did_you_mean(code, list(FailureCode), "codes: " + ", ".join(FailureCode))
        raise UsageError(f"--code {code}: is not a reason for which prompts die; {hint}")
    return FailureCode(code)


def failure_code(stored: str | None) -> FailureCode:
    """The code of a dead prompt as it is stored."""
    try:
        return FailureCode(stored or FailureCode.UNKNOWN)
    except ValueError:  # of a later version
        return FailureCode.UNKNOWN
