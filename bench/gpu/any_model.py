"""`python -m bench.gpu.any_model`: what a model that is no GPT-2 does here, in SmolLM2's shapes, beside `generate`.

It is loaded as a worker loads it, so its rows say which engine it gets, too, and why. Random weights: nothing is
fetched.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.engine_cuda import ON_A_GPU, SMALL, Scale, best_generate, requests
from bench.gpu import parse_arguments, row
from bench.random_gpt2 import VOCABULARY, write_tokenizer

SMOLLM2 = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "max_position_embeddings": 8192,
}  # fmt: skip
TINY = SMOLLM2 | {"num_hidden_layers": 2}
TEXTS = 32
SHORT = 32  # new tokens of each: one text at a time takes its time


def main() -> None:
    small = parse_arguments().small
    scale = SMALL if small else replace(ON_A_GPU, batches=(TEXTS,), new_tokens=SHORT)
    with tempfile.TemporaryDirectory(prefix="inkmill-gpu-") as folder:
        network = write_checkpoint(Path(folder), TINY if small else SMOLLM2)
        ours = measure(folder, scale, scale.slots if small else TEXTS)
    theirs, batch = best_generate(network.to(scale.device), scale)
    row(
        f"the same: transformers' generate, batch {batch}",
        f"{theirs:,.0f} tokens/s; ours is {ours / theirs:.2f} times that",
    )


def write_checkpoint(folder: Path, shape: dict[str, int]) -> Any:
    """A Llama of that shape with random weights, and a tokenizer. Returns the network, in bf16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, initializer_range=0.05, **shape)
    network = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    network.save_pretrained(folder)
    write_tokenizer(folder)
    return network


def measure(folder: str, scale: Scale, count: int) -> float:
    """Tokens a second of so many requests, from the first prompt to the last text."""
    from worker.engine.load.loading import load_engine

    start = time.perf_counter()
    loaded = load_engine(folder, device=scale.device, dtype="bf16")
    row("SmolLM2's shapes: ready after", f"{time.perf_counter() - start:.1f} s, in {loaded.engine.name}")
    row("SmolLM2's shapes: why not in slots", loaded.why_fallback or "it is in slots")
    loaded.engine.add(requests(count, scale))
    start, written = time.perf_counter(), 0
    while loaded.engine.pending:
        for report in loaded.engine.step():
            written += getattr(report, "tokens", 0)  # a fault has none
    speed = written / (time.perf_counter() - start)
    row(
        f"SmolLM2's shapes, bf16: {count} requests of {scale.new_tokens} tokens",
        f"{written:,} tokens, {speed:,.0f} tokens/s",
    )
    if written != count * scale.new_tokens:
        raise SystemExit(f"{count * scale.new_tokens:,} tokens were asked for")
    return speed


if __name__ == "__main__":
    main()
