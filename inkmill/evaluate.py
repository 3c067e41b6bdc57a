"""`inkmill evaluate`: the perplexity of a model on a text, computed in this process; it loads torch for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.wording import counted
from contract.errors import ModelUnavailable, UsageError
from contract.model_kinds.own_model import own_model_folder
from inkmill.quiet_libraries import log_to_standard_error
from inkmill.show.display import ProgressLine, print_json
from inkmill.show.terminal import messages, output
from producer.decompression import decompressed
from producer.read.lines import blocks
from producer.source import STDIN, Source

if TYPE_CHECKING:
    from worker.engine.load.loading import Loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedText:
    """How well a model predicts a text."""

    perplexity: float
    bits_per_byte: float
    tokens: int
    model: str
    revision: str


def evaluate(model: str, file: str, *, device: str) -> EvaluatedText:
    """The perplexity of a model on a text file, in fp32.

    Raises:
        ModelUnavailable: the model cannot be loaded.
        UsageError: the file cannot be read, is no UTF-8, or has fewer than two tokens.
    """
    if find_spec("torch") is None:
        raise ModelUnavailable("torch is not installed, and evaluate needs it: pip install 'inkmill[worker]'")
    name, text = read_text(file)
    with ProgressLine() as progress:
        progress.say(f"loading {model} (the first time, it may be fetched and compiled)")
        from worker.engine.load.loading import load_engine

        log_to_standard_error()
        loaded = load_engine(model, device, "fp32", slots=1, folder=own_model_folder(model))
        if loaded.why_fallback:
            messages.print(f"note: through transformers, because {loaded.why_fallback}", markup=False)
        return _evaluate(loaded, name, text, progress.say)


def _evaluate(loaded: Loaded, name: str, text: str, say: Callable[[str], object]) -> EvaluatedText:
    from worker.evaluation.perplexity import evaluate, pass_count, positions_of

    say(f"tokenising {name}")
    tokens = loaded.engine.tokens(text)
    if len(tokens) < 2:
        raise UsageError(
            f"{name}: is {counted(len(tokens), 'token')} to this model, and a perplexity needs two or more"
        )
    model, done = loaded.engine.model, 0
    positions = positions_of(model)
    passes = pass_count(len(tokens), positions)

    def alive() -> None:
        nonlocal done
        done += 1
        say(f"{counted(len(tokens), 'token')}: {done / passes:.0%} evaluated")

    found = evaluate(model, np.array(tokens), positions, alive)
    return EvaluatedText(
        perplexity=found.perplexity,
        bits_per_byte=found.bits_per_byte(len(text.encode("utf-8"))),
        tokens=found.tokens,
        model=loaded.provenance.model,
        revision=loaded.provenance.revision,
    )


def read_text(file: str) -> tuple[str, str]:
    """The file's name and its text, decompressed, without a byte order mark, with its own line ends.

    Raises:
        UsageError: it cannot be read, is empty, or is no UTF-8.
    """
    if file != STDIN and Path(file).is_dir():
        raise UsageError(f"{file}: is a directory; name a text file")
    with Source(file) as source:
        data = b"".join(blocks(decompressed(source), source.name))
        source.check_stat()
    if not data:
        raise UsageError(f"{source.name}: is empty; a perplexity needs a text of two tokens or more")
    try:
        return source.name, data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{source.name}: is not UTF-8 at byte {error.start + 1:,} of its text; write it as UTF-8, for example with "
            "iconv -f latin1 -t utf-8"
        ) from None


def show(result: EvaluatedText, *, json: bool) -> None:
    """Prints a result on standard output."""
    if json:
        print_json({name: getattr(result, name) for name in EvaluatedText.__slots__})
        return
    output.print(
        f"perplexity {result.perplexity:,.4f} · {result.bits_per_byte:.4f} bits per byte · "
        f"{counted(result.tokens, 'token')}",
        markup=False,
    )
