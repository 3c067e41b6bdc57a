"""`inkmill try`: a few samples from an engine in this process. Only this and `reproduce` load torch here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from rich.markup import escape

from common.wording import counted
from contract.errors import InkmillError, ModelUnavailable
from contract.spec import SEED_LIMIT, SamplingSettings, merge, output_seed
from inkmill.show.display import ProgressLine, print_json
from inkmill.show.terminal import messages, output

SAMPLES = 3


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
    model: str, prompt: str, sampling: dict[str, Any], *, device: str, dtype: str, seed: int | None
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
    prompt: str,
    settings: SamplingSettings,
    seeds: list[int],
    device: str,
    dtype: str,
    say: Callable[[str], object],
) -> list[GeneratedSample]:
    say(f"loading {model} (the first time, it may be fetched and compiled)")
    from worker.engine.load.loading import load_engine
    from worker.engine.sequence import Completion, Request

    loaded = load_engine(model, device, dtype, slots=min(len(seeds), 64))
    if loaded.why_fallback:
        messages.print(f"note: one text at a time, because {loaded.why_fallback}", markup=False)
    engine = loaded.engine
    say(f"writing {counted(len(seeds), 'text')}")
    engine.add(Request(key=index, prompt=prompt, settings=settings, seed=seed) for index, seed in enumerate(seeds))
    generated: dict[int, GeneratedSample] = {}
    while engine.pending:
        for result in engine.step():
            if not isinstance(result, Completion):
                raise InkmillError(f"the prompt cannot be continued: {result.reason}")
            index = int(str(result.key))
            generated[index] = GeneratedSample(
                prompt, result.text, result.finish_reason, result.tokens, seeds[index], result.mean_logprob
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
