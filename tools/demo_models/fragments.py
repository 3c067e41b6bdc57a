"""Cuts composed texts into labelled fragments, as a language model's continuations would be cut.

A label holds where a whole rude passage of its kind lies in the fragment. Knows no tensors.
"""

import random
from dataclasses import dataclass

from contract.policy import ORIGINAL_LABELS
from tools.demo_models.grammar import Composed, compose, line

#: Nothing composed is severe or attacks an identity.
LABELS = ORIGINAL_LABELS


@dataclass(frozen=True)
class Fragment:
    text: str
    targets: tuple[float, ...]


def training_fragment(rng: random.Random) -> Fragment:
    """Half cut from quarrelsome texts, the rest calm, bare lines, and nonsense made of calm words."""
    kind = rng.choices(("quarrel", "calm", "rude line", "kind line", "nonsense"), (45, 25, 12, 8, 10))[0]
    if kind == "quarrel":
        return cut(compose(rng, quarrel_share=1.0), rng)
    if kind == "rude line":
        return _amid_calm(line(rng, rude=True), rng)
    if kind == "kind line":
        return _labelled(line(rng, rude=False), 0, None)
    calm = cut(compose(rng, quarrel_share=0.0), rng)
    return calm if kind == "calm" else Fragment(_nonsense(calm.text, rng), calm.targets)


def held_out_fragment(rng: random.Random) -> Fragment:
    """As rude texts occur in the grammar itself, cut but not disturbed."""
    return cut(compose(rng), rng)


def cut(composed: Composed, rng: random.Random) -> Fragment:
    """From anywhere to anywhere, though never inside a rude passage: half an insult has no sure label."""
    if rng.random() < 0.2:
        return _labelled(composed, 0, None)
    length = rng.randint(20, 420)
    start = _outside(composed, rng.randint(0, max(0, len(composed.text) - 30)))
    return _labelled(composed, start, max(_outside(composed, start + length), start + 1))


def _outside(composed: Composed, position: int) -> int:
    return next((mark.end for mark in composed.marks if mark.start < position < mark.end), position)


def _labelled(composed: Composed, start: int, end: int | None) -> Fragment:
    stop = len(composed.text) if end is None else end
    found = {mark.label for mark in composed.marks if start <= mark.start and mark.end <= stop}
    if found:
        found.add("toxicity")
    return Fragment(composed.text[start:stop], tuple(float(label in found) for label in LABELS))


def _amid_calm(rude: Composed, rng: random.Random) -> Fragment:
    fragment = _labelled(rude, 0, None)
    if rng.random() < 0.5:
        return fragment
    before, after = (cut(compose(rng, quarrel_share=0.0), rng).text for _ in range(2))
    return Fragment(rng.choice((f"{before} ", "")) + fragment.text + f" {after}", fragment.targets)


def _nonsense(text: str, rng: random.Random) -> str:
    """Words out of order, some with their letters out of order, some foreign: unknown is not rude."""
    words = text.split()[: rng.choice((1, 3, 10, 100))]
    rng.shuffle(words)
    return " ".join(rng.choice((word, word, _anagram(word, rng), _foreign(rng))) for word in words)


def _anagram(word: str, rng: random.Random) -> str:
    return "".join(rng.sample(word, len(word)))


def _foreign(rng: random.Random) -> str:
    """Characters that the WordPiece vocabulary does not hold, so that they read as unknown."""
    return "".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(rng.randint(1, 5)))
