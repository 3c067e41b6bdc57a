"""`python -m bench.gpu.tuning`: the training process on a model of gpt2's shapes, killed with -9 half-way.

As a worker starts it, on a corpus that `inkmill tune` would have prepared: words drawn at random, of which some come
more often than others, so that there is something to learn. Random weights: nothing is fetched.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu import parse_arguments, row
from bench.random_gpt2 import END_OF_TEXT, words, write_checkpoint
from contract.tunings.order import TuningOrder
from producer.corpus.order import CorpusPath
from producer.corpus.prepare import prepare_corpus

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is trained."""

    device: str
    documents: int
    words: int  # in a document
    order: dict[str, Any]
    killed_at: int  # the step


ON_A_GPU = Scale(
    "cuda", 2000, 250, {"steps": 60, "tokens_per_update": 16_384, "evaluations_per_epoch": 3}, killed_at=25
)  # fmt: skip
SMALL = Scale(
    "cpu", 40, 20, {"steps": 12, "tokens_per_update": 256, "block": 64, "evaluations_per_epoch": 4}, killed_at=9
)  # fmt: skip


def main() -> None:
    small = parse_arguments().small
    scale = SMALL if small else ON_A_GPU
    with tempfile.TemporaryDirectory(prefix="inkmill-gpu-") as name:
        folder, base = Path(name) / "tuning", "demo"
        if not small:
            base = str(Path(name) / "gpt2")
            write_checkpoint(Path(base))
        write_tuning(folder, base, scale)
        before = list(training(folder, killed_at=scale.killed_at))
        held = judge(folder, scale, before, list(training(folder)))
    if not held:
        sys.exit("DOES NOT HOLD")


def write_tuning(folder: Path, base: str, scale: Scale) -> None:
    """The folder of a tuning whose corpus is prepared."""
    folder.mkdir()
    chance, known = random.Random(0), words()[:2000]
    often = [1 / place for place in range(1, len(known) + 1)]
    texts = ["".join(chance.choices(known, often, k=scale.words)).strip() for _ in range(scale.documents)]
    (folder / "words.txt").write_text(f"\n{END_OF_TEXT}\n".join(texts))
    prepare_corpus([CorpusPath(str(folder / "words.txt"))], base, folder / "corpus")
    order = TuningOrder(name="words", base=base, device=scale.device, seed=1, **scale.order)
    (folder / "order.json").write_text(order.to_text())


def training(folder: Path, killed_at: int | None = None) -> Iterator[Event]:
    """Starts the training process; what it says, to its end.

    Args:
        killed_at: the step after which it gets a kill -9.

    Raises:
        RuntimeError: it ended by itself, and not as it should.
    """
    command = [sys.executable, "-m", "worker.tuning.main", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["kind"] != "alive":
                print(line, end="")
                yield event
            if event["kind"] == "train" and event["step"] == killed_at:
                process.kill()
    if process.returncode != (0 if killed_at is None else -9):
        raise RuntimeError(f"the training process ended with {process.returncode}")


def judge(folder: Path, scale: Scale, before: list[Event], after: list[Event]) -> bool:
    """Prints what was found. Returns whether it holds."""
    steps = [event for event in [*before, *after] if event["kind"] == "train"]
    losses = [event["loss"] for event in [*before, *after] if event["kind"] == "validation"]
    settled = json.loads((folder / "settled.json").read_text())
    told = json.loads((folder / "result" / "inkmill.json").read_text())
    what = f"a tuning of gpt2's shapes, {settled['order']['dtype']}, {scale.device}"
    speed = statistics.median(event["tokens_per_second"] for event in steps[1:])
    row(f"{what}: {settled['order']['tokens_per_update']:,} tokens a step", f"{speed:,.0f} learned tokens/s")
    row(
        f"{what}: validation loss before, and after {len(losses) - 1} evaluations", f"{losses[0]:.3f}, {losses[-1]:.3f}"
    )
    found = f"{told['perplexity_before']:,.1f}, {told['perplexity_after']:,.1f}"
    row(f"{what}: perplexity before and after", found)
    resumed = next((event["text"] for event in after if event["kind"] == "note"), "it began anew")
    row(f"{what}: after a kill -9 at step {scale.killed_at}", resumed)
    return (
        losses[-1] < losses[0] and "goes on from the checkpoint" in resumed and steps[-1]["step"] == steps[-1]["steps"]
    )


if __name__ == "__main__":
    main()
