"""Scoring, measured: texts a second beside Detoxify's own way, and how far bfloat16 is from float32.

`python -m bench.scoring [--texts 256] [--rounds 3]`; bench/README.md says more.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench.random_bert import WORDS, write_checkpoint
from contract.policy import ScoreBy
from worker.safety.detoxify import Classifier, load_classifier
from worker.safety.pieces import judge
from worker.safety.sentences import sentences

MIN_TOKENS, MAX_TOKENS = 64, 192  # tokens of a text, two special ones among them
SENTENCES = 1000
WORDS_A_SENTENCE = 14  # on average, as in English prose
REFERENCE_BATCH = 32

Scorer = Callable[[list[str]], torch.Tensor]
"""Texts to probabilities, [texts, labels]."""


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="inkmill-bench-") as name:
        path = write_checkpoint(Path(name))
        exact = load_classifier(str(path), "cpu", dtype="fp32")
        quick = load_classifier(str(path), "cpu", dtype="bf16")
        texts = _texts(options.texts)
        _speed_by_sentence(quick, texts, options.rounds)
        _speed({"Detoxify.predict": _detoxify(path), "fp32": _ours(exact), "bf16": _ours(quick)}, texts, options.rounds)
        _fidelity("random BERT-base", exact, quick, texts)
    exact, quick = (load_classifier("demo", "cpu", dtype=dtype) for dtype in ("fp32", "bf16"))
    _fidelity("demo, real sentences", exact, quick, list(_sentences(SENTENCES)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scoring", description="Measure scoring.")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _texts(count: int) -> list[str]:
    """Random words, each of which is a token."""
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(MIN_TOKENS, MAX_TOKENS) - 2)) for _ in range(count)]


def _sentences(count: int) -> Iterator[str]:
    """Stories of the kind that the demo classifier was trained for, calm and rude, cut at any place."""
    from tools.demo_models.grammar import corpus

    rng = random.Random(1)
    stories = [story.text for story in corpus(seed=11, count=count)]
    for _ in range(count):
        yield " ".join(rng.sample(stories, 2))[: rng.randint(10, 1500)]


def _detoxify(path: Path) -> Scorer:
    """What Detoxify's `predict` does, on batches of 32 texts as they come."""
    from detoxify.detoxify import get_model_and_tokenizer

    checkpoint: Any = torch.load(path, weights_only=True)
    model, tokenizer = get_model_and_tokenizer(
        **checkpoint["config"]["arch"]["args"], state_dict=checkpoint["state_dict"]
    )
    model.eval()

    @torch.no_grad()
    def predict(texts: list[str]) -> torch.Tensor:
        inputs = tokenizer(texts, return_tensors="pt", truncation=True, padding=True)
        return torch.sigmoid(model(**inputs)[0])

    def score(texts: list[str]) -> torch.Tensor:
        batches = range(0, len(texts), REFERENCE_BATCH)
        return torch.cat([predict(texts[first : first + REFERENCE_BATCH]) for first in batches])

    return score


def _ours(classifier: Classifier) -> Scorer:
    return lambda texts: torch.tensor([list(scores.values()) for scores in classifier.score(texts)])


def _speed(scorers: dict[str, Scorer], texts: list[str], rounds: int) -> None:
    speeds: dict[str, list[float]] = {name: [] for name in scorers}
    for number in range(rounds):
        for name, score in scorers.items():
            score(texts[:8])
            started = time.perf_counter()
            score(texts)
            speeds[name].append(len(texts) / (time.perf_counter() - started))
            print(f"round {number + 1}: {name} {speeds[name][-1]:.1f} texts/s", file=sys.stderr)
    first, *_ = speeds
    print("\n| | texts/s | × the first |\n|---|---|---|")
    for name, speeds_of_one in speeds.items():
        ratios = [ours / theirs for ours, theirs in zip(speeds_of_one, speeds[first], strict=True)]
        print(f"| {name} | {_spread(speeds_of_one)} | {_spread(ratios)} |")


def _speed_by_sentence(classifier: Classifier, texts: list[str], rounds: int) -> None:
    """The same texts with full stops in them, as a whole and by sentence."""
    rng = random.Random(2)
    stopped = [
        re.sub(r"\S+", lambda word: word[0] + "." * (rng.random() < 1 / WORDS_A_SENTENCE), text) for text in texts
    ]
    shares = sum(len(sentences(text)) for text in stopped) / len(stopped)
    print(f"sentences a text: {shares:.1f}", file=sys.stderr)
    scorers = {f"by {kind}": partial(_judged, classifier, kind) for kind in ScoreBy}
    _speed(scorers, stopped, rounds)


def _judged(classifier: Classifier, kind: ScoreBy, texts: list[str]) -> torch.Tensor:
    judged = judge(texts, kind, classifier.score)
    return torch.tensor([list(one.scores.values()) for one in judged])


def _spread(numbers: list[float]) -> str:
    return f"{median(numbers):.1f} ({min(numbers):.1f}–{max(numbers):.1f})"


def _fidelity(name: str, exact: Classifier, quick: Classifier, texts: list[str]) -> None:
    """How far bfloat16 moves a probability, and how far a text's neighbours do."""
    exact_scores, quick_scores = _ours(exact)(texts), _ours(quick)(texts)
    few = texts[:64]
    alone = torch.cat([_ours(quick)([text]) for text in few])
    change = (quick_scores - exact_scores).abs()
    print(
        f"\n{name}, {len(texts)} texts: bf16 moves a probability by {change.max():.4f} at most, "
        f"{change.square().mean().sqrt():.5f} in the root mean square; "
        f"{int(((quick_scores > 0.7) != (exact_scores > 0.7)).sum())} of {change.numel()} cross 0.7; "
        f"neighbours move one by {(alone - quick_scores[: len(few)]).abs().max():.1e} at most"
    )


if __name__ == "__main__":
    main()
