"""`inkmill try`: samples from an engine in this process. Only this, `evaluate` and `reproduce` load torch here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from common.wording import counted
from contract.errors import InkmillError, ModelUnavailable
from contract.model_kinds.own_model import own_model_folder
from contract.spec import SEED_LIMIT, SamplingSettings, manner_of_writing, merge, output_seed
from inkmill.quiet_libraries import log_to_standard_error
from inkmill.show.display import ProgressLine, print_json
from inkmill.show.terminal import messages, output
from producer.chat import as_messages, plain_prompts, with_system

if TYPE_CHECKING:
    from worker.engine.load.loading import Loaded

SAMPLES = 3


@dataclass(frozen=True, slots=True)
class TriedPrompt:
    """What was typed."""

    text: str
    system: str | None = None  # then the text is the user's message behind it

    def sent_to(self, loaded: Loaded, model: str) -> str:
        """What the model is sent.

        Raises:
            Rejected: it has no chat template, or one that does not take these messages.
        """
        template = loaded.engine.chat_template
        if self.system is None:
            if template.exists and self.text:
                messages.print(f"note: {plain_prompts(model)}", markup=False)
            return self.text
        return template.prompt_of(with_system(as_messages(self.text), self.system), model)


@dataclass(frozen=True, slots=True)
class GeneratedSample:
    """One sample."""

    prompt: str
    text: str
    finish_reason: str
    tokens: int
    seed: int
    mean_logprob: float


def samples(
    model: str, prompt: TriedPrompt, sampling: dict[str, Any], *, device: str, dtype: str, seed: int | None
) -> list[GeneratedSample]:
    """A few texts for one prompt: three, unless the settings set n or are greedy.

    Raises:
        ModelUnavailable: the model cannot be loaded.
        InkmillError: the model cannot continue the prompt.
    """
    if find_spec("torch") is None:
        raise ModelUnavailable("torch is not installed, and try needs it: pip install 'inkmill[worker]'")
    settings = merge(SamplingSettings(), sampling)
    if "n" not in sampling and not settings.greedy:
        settings = merge(settings, {"n": SAMPLES})
    job_seed = secrets.randbelow(SEED_LIMIT) if seed is None else seed
    # A job of one prompt with this seed gives the same texts: its position is 0.
    seeds = [output_seed(job_seed, None, 0, index) for index in range(settings.n)]
    messages.print(f"seed {job_seed}")
    with ProgressLine() as progress:
        return _generate(model, prompt, settings, seeds, device, dtype, progress.say)


def _generate(
    model: str,
    prompt: TriedPrompt,
    settings: SamplingSettings,
    seeds: list[int],
    device: str,
    dtype: str,
    say: Callable[[str], object],
) -> list[GeneratedSample]:
    say(f"loading {model} (the first time, it may be fetched and compiled)")
    from worker.engine.encoded_prompt import Rejected
    from worker.engine.load.loading import load_engine
    from worker.engine.sequence import Completion, Request

    log_to_standard_error()
    loaded = load_engine(model, device, dtype, slots=min(len(seeds), 64), folder=own_model_folder(model))
    if loaded.why_fallback:
        manner = manner_of_writing(loaded.provenance.engine, loaded.why_fallback)
        messages.print(f"note: {manner}", markup=False)
    engine = loaded.engine
    try:
        sent, chat = prompt.sent_to(loaded, model), prompt.system is not None
    except Rejected as error:
        raise InkmillError(f"the prompt cannot be continued: {error}") from None
    say(f"writing {counted(len(seeds), 'text')}")
    engine.add(
        Request(key=index, prompt=sent, settings=settings, seed=seed, chat=chat) for index, seed in enumerate(seeds)
    )
    generated: dict[int, GeneratedSample] = {}
    while engine.pending:
        for result in engine.step():
            if not isinstance(result, Completion):
                raise InkmillError(f"the prompt cannot be continued: {result.reason}")
            index = int(str(result.key))
            generated[index] = GeneratedSample(
                sent, result.text, result.finish_reason, result.tokens, seeds[index], result.mean_logprob
            )
    return [generated[index] for index in sorted(generated)]


def show(generated: list[GeneratedSample], *, json: bool) -> None:
    """Prints samples on standard output."""
    if json:
        print_json([{name: getattr(sample, name) for name in GeneratedSample.__slots__} for sample in generated])
        return
    for sample in generated:
        output.rule(
            f"{sample.finish_reason}, {counted(sample.tokens, 'token')}, mean log-probability {sample.mean_logprob:.2f}"
        )
        output.print(f"[dim]{escape(sample.prompt)}[/dim]{escape(sample.text)}")
