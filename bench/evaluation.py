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

ROUNDS = 3
TEXTS, TEXT_TOKENS = 200, 200
VOCABULARY = 50_257


def main() -> None:
    what, *words = sys.argv[1:]
    {"perplexity": compare_perplexity, "copied": measure_index}[what](*words)


def compare_perplexity(model: str, file: str) -> None:
    """Both in fp32 with all threads, each in turn in every round; the ratio is taken within a round."""
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
    for _ in range(ROUNDS):
        ours, our_seconds = _timed(lambda: evaluate(engine.model, tokens, positions).perplexity)
        theirs, their_seconds = _timed(lambda: by_transformers(network, tokens, positions))
        print(
            f"ours {our_seconds:.1f} s, transformers {their_seconds:.1f} s: {their_seconds / our_seconds:.2f} times; "
            f"perplexity {ours:.5f} and {theirs:.5f}, apart by {abs(ours / theirs - 1):.1e}"
        )


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
        index, seconds = _timed(lambda: CopiedIndex.build(training, Path(folder) / "copied"))
        size = sum(path.stat().st_size for path in (Path(folder) / "copied").iterdir())
        print(f"{count:,} tokens: built in {seconds:.1f} s, {size / 1e6:.0f} MB, {_peak() - before:.0f} MB of memory")
        texts = (draw.zipf(1.2, (TEXTS, TEXT_TOKENS)) % VOCABULARY).astype(np.uint16)
        for text, start in zip(texts, draw.integers(0, count - 50, TEXTS), strict=True):
            text[100:150] = training[start : start + 50]
        copies, seconds = _timed(lambda: index.copies(list(texts)))
        print(
            f"{1000 * seconds / TEXTS:.2f} ms a text of {TEXT_TOKENS} tokens; the longest run {copies.longest.length}"
        )


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    since = time.perf_counter()
    return function(), time.perf_counter() - since


def _peak() -> float:
    """The most memory that this process had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
