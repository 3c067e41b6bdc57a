"""`python -m bench.evaluation perplexity MODEL FILE` and `python -m bench.evaluation copied TOKENS`.

Ours beside transformers computing the same windows; and the index of what a model copied: to build it, and to ask it.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TEXTS, TEXT_TOKENS = 200, 200
VOCABULARY = 50_257


def main() -> None:
    what, *words = sys.argv[1:]
    {"perplexity": compare_perplexity, "copied": measure_index}[what](*words)


def compare_perplexity(model: str, file: str, rounds: str = "3") -> None:
    """Both in fp32 with all threads, each in turn in every round; the ratio is taken within a round.

    CPU seconds say more than the clock on a machine that is busy.
    """
    import torch

    from worker.engine.load.checkpoint import find_checkpoint
    from worker.engine.load.from_transformers import read_network
    from worker.engine.load.loading import load_engine
    from worker.evaluation.perplexity import evaluate, positions_of

    engine = load_engine(model, "cpu", "fp32", slots=1).engine
    network = read_network(find_checkpoint(model))
    tokens = np.array(engine.tokens(Path(file).read_text(encoding="utf-8")))
    positions = positions_of(engine.model)
    print(f"{engine.name}, {len(tokens):,} tokens, windows of {positions:,}, {torch.get_num_threads()} threads")
    for _ in range(int(rounds)):
        ours, *ours_took = _timed(lambda: evaluate(engine.model, tokens, positions).perplexity)
        theirs, *theirs_took = _timed(lambda: by_transformers(network, tokens, positions))
        for clock, our, their in zip(("wall", "CPU"), ours_took, theirs_took, strict=True):
            print(f"{clock}: ours {our:.1f} s, transformers {their:.1f} s, {their / our:.2f} times")
        print(f"perplexity {ours:.5f} and {theirs:.5f}, apart by {abs(ours / theirs - 1):.1e}", flush=True)


def by_transformers(network: Any, tokens: Any, positions: int) -> float:
    """The loop of transformers' guide, https://huggingface.co/docs/transformers/perplexity: a window a call, the loss
    of what is new in it; weighted so that each token counts exactly once."""
    import torch

    total, previous_end = 0.0, 1
    for start in range(0, len(tokens), positions // 2):
        end = min(start + positions, len(tokens))
        ids = torch.from_numpy(tokens[start:end])[None]
        labels = ids.clone()
        labels[0, : previous_end - start] = -100
        with torch.no_grad():
            total += float(network(ids, labels=labels).loss) * (end - previous_end)
        previous_end = end
        if end == len(tokens):
            break
    return math.exp(total / (len(tokens) - 1))


def measure_index(tokens: str) -> None:
    """Words as rare as in language (Zipf), a tenth of the text twice; texts that are new but for a passage of it."""
    from worker.evaluation.copied import CopiedIndex

    count, draw = int(tokens.replace("_", "").replace(",", "")), np.random.default_rng(0)
    training = (draw.zipf(1.2, count) % VOCABULARY).astype(np.uint16)
    training[-(count // 10) :] = training[: count // 10]
    with tempfile.TemporaryDirectory() as folder:
        training.tofile(Path(folder) / "tokens")
        training = np.memmap(Path(folder) / "tokens", np.uint16, "r")
        Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts
        before = _peak()
        index, seconds, _ = _timed(lambda: CopiedIndex.build(training, Path(folder) / "copied"))
        size = sum(path.stat().st_size for path in (Path(folder) / "copied").iterdir())
        print(f"{count:,} tokens: built in {seconds:.1f} s, {size / 1e6:.0f} MB, {_peak() - before:.0f} MB of memory")
        texts = (draw.zipf(1.2, (TEXTS, TEXT_TOKENS)) % VOCABULARY).astype(np.uint16)
        for text, start in zip(texts, draw.integers(0, count - 50, TEXTS), strict=True):
            text[100:150] = training[start : start + 50]
        copies, seconds, _ = _timed(lambda: index.copies(list(texts)))
        print(
            f"{1000 * seconds / TEXTS:.2f} ms a text of {TEXT_TOKENS} tokens; the longest run {copies.longest.length}"
        )


def _timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, and the seconds that it took by the clock and of the processors."""
    since, used = time.perf_counter(), time.process_time()
    return function(), time.perf_counter() - since, time.process_time() - used


def _peak() -> float:
    """The most memory that this process had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
