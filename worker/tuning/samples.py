"""Samples: what a network writes after given prompts, from random numbers of its own.

The training's random numbers are left where they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers

library: Any = transformers  # untyped
TOP_K = 50
AT_ONCE = 16  # texts generated together
PROMPT_TOKENS = 8  # of a document, where the prompt is its beginning
LONGEST_PROMPT = 256


def draw(
    network: Any, prompt: Sequence[int], *, count: int, length: int, end_of_text: int, positions: int, seed: int
) -> list[list[int]]:
    """The tokens of `count` texts after a prompt of one token or more; each ends at the end of text, without it."""
    length = min(length, positions - len(prompt))
    settings = library.GenerationConfig(
        do_sample=True, top_k=TOP_K, max_new_tokens=length, eos_token_id=end_of_text, pad_token_id=end_of_text,
        use_cache=True,
    )  # fmt: skip
    devices = [network.device] if network.device.type == "cuda" else []
    texts: list[list[int]] = []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(seed)
        network.eval()
        while len(texts) < count:
            rows = min(AT_ONCE, count - len(texts))
            ids = torch.tensor([list(prompt)] * rows, device=network.device)
            written = network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
            texts += [_until(row, end_of_text) for row in written[:, len(prompt) :].tolist()]
    return texts


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens
