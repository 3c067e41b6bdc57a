"""`inkmill try PROMPT`: a few samples of one prompt."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from common.wording import counted
from contract.spec import SEED_LIMIT, SamplingSettings, merge, output_seed
from inkmill.show.display import ProgressLine, print_json
from inkmill.show.terminal import messages, output
from inkmill.trying.writing import GeneratedSample, SentPrompt, Writer, load_writer
from producer.chat import plain_prompts

SAMPLES = 3


@dataclass(frozen=True, slots=True)
class TriedPrompt:
    """What was typed."""

    text: str
    system: str | None = None  # then the text is the user's message behind it

    def sent_to(self, writer: Writer) -> SentPrompt:
        """What the model is sent.

        Raises:
            InkmillError: it has no chat template, or one that does not take these messages.
        """
        if self.system is not None:
            return writer.instruction(self.text, self.system)
        if writer.is_chat_model and self.text:
            messages.print(f"note: {plain_prompts(writer.model)}", markup=False)
        return SentPrompt(self.text)


def samples(
    model: str, prompt: TriedPrompt, sampling: dict[str, Any], *, device: str, dtype: str, seed: int | None
) -> list[GeneratedSample]:
    """A few texts for one prompt: three, unless the settings set n or are greedy.

    Raises:
        ModelUnavailable: the model cannot be loaded.
        InkmillError: the model cannot continue the prompt.
    """
    settings = settings_of(sampling)
    seeds = draw_seeds(seed, settings.n)
    with ProgressLine() as progress:
        writer = load_writer(model, device, dtype, settings.n, progress.say)
        sent = prompt.sent_to(writer)
        progress.say(f"writing {counted(settings.n, 'text')}")
        return writer.write(sent, settings, seeds)


def settings_of(sampling: Mapping[str, Any], texts: int = SAMPLES) -> SamplingSettings:
    """The settings that were typed, with so many texts where nothing else was said."""
    settings = merge(SamplingSettings(), sampling)
    return settings if "n" in sampling or settings.greedy else merge(settings, {"n": texts})


def draw_seeds(seed: int | None, count: int) -> list[int]:
    """The samples' seeds, from one that is printed: a job of this prompt alone with it gives the same texts."""
    job_seed = secrets.randbelow(SEED_LIMIT) if seed is None else seed
    messages.print(f"seed {job_seed}")
    return [output_seed(job_seed, None, 0, index) for index in range(count)]


def show(generated: list[GeneratedSample], *, json: bool) -> None:
    """Prints samples on standard output."""
    if json:
        print_json([{name: getattr(sample, name) for name in GeneratedSample.__slots__} for sample in generated])
        return
    for sample in generated:
        output.rule(how_it_ended(sample))
        output.print(f"[dim]{escape(sample.prompt)}[/dim]{escape(sample.text)}")


def how_it_ended(sample: GeneratedSample) -> str:
    """A sample's end and likelihood, in a line."""
    return f"{sample.finish_reason}, {counted(sample.tokens, 'token')}, mean log-probability {sample.mean_logprob:.2f}"
