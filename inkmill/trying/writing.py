"""An engine in this process, and the texts that it writes for one prompt. Only this and `reproduce` load torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from contract.errors import InkmillError, ModelUnavailable
from contract.model_kinds.own_model import own_model_folder
from contract.spec import Messages, SamplingSettings, manner_of_writing
from inkmill.quiet_libraries import log_to_standard_error
from inkmill.show.terminal import messages
from producer.chat import as_messages, with_system

if TYPE_CHECKING:
    from worker.engine.load.loading import Loaded

MOST_SLOTS = 64


@dataclass(frozen=True, slots=True)
class SentPrompt:
    """What a model is sent."""

    text: str
    chat: bool = False  # its chat template made it


@dataclass(frozen=True, slots=True)
class GeneratedSample:
    """One sample."""

    prompt: str
    text: str
    finish_reason: str
    tokens: int
    seed: int
    mean_logprob: float


class Watcher:
    """Is told how texts grow. This one does not mind."""

    def grown(self, so_far: Callable[[int], str]) -> None:
        """Called after each token.

        Args:
            so_far: gives what is written of a sample, by its number; "" once it is finished.
        """

    def finished(self, index: int, sample: GeneratedSample) -> None:
        """A sample is whole."""


class Stopped(BaseException):
    """Raised by a watcher: nothing more is to be written. No `Exception`, which an engine would charge the prompt
    with."""


class Writer:
    """A model that is loaded."""

    def __init__(self, loaded: Loaded, model: str) -> None:
        self._loaded, self.model = loaded, model

    @property
    def is_chat_model(self) -> bool:
        return self._loaded.engine.chat_template.exists

    def sent(self, conversation: Messages) -> SentPrompt:
        """The prompt that the model's chat template makes of messages.

        Raises:
            InkmillError: it has none, or one that does not take these messages.
        """
        from worker.engine.encoded_prompt import Rejected

        try:
            return SentPrompt(self._loaded.engine.chat_template.prompt_of(conversation, self.model), chat=True)
        except Rejected as error:
            raise InkmillError(f"the prompt cannot be continued: {error}") from None

    def instruction(self, text: str, system: str) -> SentPrompt:
        """The prompt that the chat template makes of the user's message behind a system message.

        Raises:
            InkmillError: as `sent`.
        """
        return self.sent(with_system(as_messages(text), system))

    def write(
        self, prompt: SentPrompt, settings: SamplingSettings, seeds: Sequence[int], watcher: Watcher | None = None
    ) -> list[GeneratedSample]:
        """A sample for each seed.

        Raises:
            InkmillError: the model cannot continue the prompt.
            Stopped: by the watcher; what was written of them is lost then.
        """
        from worker.engine.sequence import Completion, Request

        engine, watcher = self._loaded.engine, watcher or Watcher()
        keys = range(len(seeds))
        engine.add(Request(key, prompt.text, settings, seeds[key], chat=prompt.chat) for key in keys)
        written: dict[int, GeneratedSample] = {}

        def grown() -> None:
            watcher.grown(engine.so_far)

        if hasattr(engine, "alive"):  # a step of it is a whole text
            engine.alive = grown
        try:
            while engine.pending:
                for result in engine.step():
                    if not isinstance(result, Completion):
                        raise InkmillError(f"the prompt cannot be continued: {result.reason}")
                    index = int(str(result.key))
                    written[index] = GeneratedSample(
                        prompt.text, result.text, result.finish_reason, result.tokens, seeds[index], result.mean_logprob
                    )
                    watcher.finished(index, written[index])
                grown()
        finally:
            engine.cancel(keys)
        return [written[index] for index in keys]


def load_writer(model: str, device: str, dtype: str, slots: int, say: Callable[[str], object]) -> Writer:
    """Loads a model.

    Args:
        slots: texts that are written at once.
        say: is told what takes long.

    Raises:
        ModelUnavailable: it cannot be loaded.
    """
    if find_spec("torch") is None:
        raise ModelUnavailable("torch is not installed, and try needs it: pip install 'inkmill[worker]'")
    say(f"loading {model} (the first time, it may be fetched and compiled)")
    from worker.engine.load.loading import load_engine

    log_to_standard_error()
    loaded = load_engine(model, device, dtype, slots=min(slots, MOST_SLOTS), folder=own_model_folder(model))
    if loaded.why_fallback:
        messages.print(f"note: {manner_of_writing(loaded.provenance.engine, loaded.why_fallback)}", markup=False)
    return Writer(loaded, model)
