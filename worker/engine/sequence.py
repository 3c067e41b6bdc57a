"""One text being written: what was asked for, what came out, and where it has to end.

Bytes and numbers only. Neither torch nor tokenizers are known here.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from contract.failures import FailureCode
from contract.spec import SamplingSettings

if TYPE_CHECKING:
    from worker.engine.encoded_prompt import EncodedPrompt
    from worker.engine.text.written import Text

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Request:
    """One text to write. `settings.n` is not looked at: a request is one output."""

    key: Hashable  # the caller's own name for it, unique among what the engine holds
    prompt: str
    settings: SamplingSettings
    seed: int  # 0 to 2**64 - 1
    encoded: EncodedPrompt | None = None  # from the engine's `read`; None = it is read when it gets a slot
    chat: bool = False  # the model's chat template made the prompt


@dataclass(frozen=True, slots=True)
class Completion:
    """A text that is finished."""

    key: Hashable
    text: str  # the continuation alone, without the stop string and the end-of-text token
    finish_reason: FinishReason
    tokens: int  # tokens sampled; the end-of-text token and a stop string's own are counted
    prompt_tokens: int
    mean_logprob: float  # of the sampled tokens under the raw model, natural logarithm
    logprobs: list[dict[str, Any]] | None  # {"token", "logprob", "top"} for each token, where asked for


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that failed, for a reason of its own."""

    key: Hashable
    reason: str
    certain: bool  # it would fail again, however often it is tried
    code: FailureCode = FailureCode.ENGINE_ERROR


class Sequence:
    """A text while it is being written.

    Tokens stand for bytes, not characters, so stop strings are looked for as UTF-8 bytes, each time only where the
    newest token can have completed one.
    """

    def __init__(self, request: Request, prompt_tokens: int, stops: tuple[bytes, ...], text: Text) -> None:
        """
        Args:
            stops: the settings' stop strings in UTF-8.
            text: one with nothing in it yet.
        """
        self.request = request
        self.prompt_tokens = prompt_tokens
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._text = text
        self._stops = stops
        self._logprob_sum = 0.0
        self._logprobs: list[dict[str, Any]] | None = [] if request.settings.logprobs else None

    def append(self, token: int, logprob: float, entry: dict[str, Any] | None = None) -> None:
        """Take the next token.

        Args:
            token: its id.
            logprob: its log probability under the raw model.
            entry: its line of `Completion.logprobs`, where those were asked for.

        A stop string complete before `min_new_tokens` tokens were written has no effect, then or later.
        """
        self._count(token, logprob, entry)
        changed = self._text.append(token)
        settings = self.request.settings
        if len(self.tokens) >= settings.min_new_tokens and self._cut_at_stop(changed):
            self.finish_reason = "stop"
        elif len(self.tokens) >= settings.max_new_tokens:
            self.finish_reason = "length"

    def end(self, token: int, logprob: float, entry: dict[str, Any] | None = None) -> None:
        """Take the end-of-text token: it is counted, and adds nothing to the text."""
        self._count(token, logprob, entry)
        self.finish_reason = "stop"

    def so_far(self) -> str:
        """The text without its end, where that may yet turn out to be a stop string."""
        content = self._text.finished().encode()
        held = max((_begun(stop, content) for stop in self._stops), default=0)
        return content[: len(content) - held].decode("utf-8", "ignore")

    def completion(self) -> Completion:
        """The finished text, without an unfinished character at its end."""
        if self.finish_reason is None:
            raise ValueError("the sequence is not finished")
        return Completion(
            key=self.request.key,
            text=self._text.finished(),
            finish_reason=self.finish_reason,
            tokens=len(self.tokens),
            prompt_tokens=self.prompt_tokens,
            mean_logprob=self._logprob_sum / len(self.tokens),
            logprobs=self._logprobs,
        )

    def _count(self, token: int, logprob: float, entry: dict[str, Any] | None) -> None:
        self.tokens.append(token)
        self._logprob_sum += logprob
        if self._logprobs is not None and entry is not None:
            self._logprobs.append(entry)

    def _cut_at_stop(self, changed: int) -> bool:
        # What ends before the byte `changed` was looked for when it came.
        places = [self._text.find(stop, max(0, changed - len(stop) + 1)) for stop in self._stops]
        starts = [place for place in places if place >= 0]
        if starts:
            self._text.cut(min(starts))
        return bool(starts)


def _begun(stop: bytes, content: bytes) -> int:
    """How many bytes at the end of a text are the beginning of a stop string."""
    lengths = range(min(len(stop) - 1, len(content)), 0, -1)
    return next((length for length in lengths if content.endswith(stop[:length])), 0)
