"""Our engine on a GPU, beside the floor that its memory and its matrix units set, and beside transformers.

`python -m bench.engine --device cuda`; bench/on_a_gpu.sh takes some of it. Random weights in GPT-2's four shapes, bf16.
It has not been run on a GPU yet.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.workloads import SAMPLING

SHAPES = {  # layers, heads, width
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured, and where."""

    device: str
    slots: int
    prompt_tokens: int
    new_tokens: int
    steady_steps: int
    batches: tuple[int, ...]  # of transformers' generate
    copied_bytes: int  # bytes, to measure bandwidth
    product: int  # rows and columns, to measure the matrix units


ON_A_GPU = Scale(
    device="cuda", slots=256, prompt_tokens=64, new_tokens=256, steady_steps=100, batches=(64, 256, 512),
    copied_bytes=2**30, product=8192,
)  # fmt: skip
SMALL = Scale(
    device="cpu", slots=4, prompt_tokens=8, new_tokens=12, steady_steps=4, batches=(4,), copied_bytes=2**20, product=64
)
"""For checking that it works at all, without a GPU."""


def main(_options: argparse.Namespace) -> None:
    import torch

    if not torch.cuda.is_available():
        print("torch finds no CUDA GPU here; measure on a machine that has one", file=sys.stderr)
        sys.exit(2)
    scale = ON_A_GPU
    bandwidth, flops = limits(scale)
    print(
        f"{torch.cuda.get_device_name()}: copies {bandwidth / 1e9:,.0f} GB/s, bf16 products {flops / 1e12:,.0f} TFLOP/s"
    )
    print("| model | steady decode, tok/s | floor, tok/s | share | whole job | generate | batch | continuous |")
    print("|---|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        network = random_network(*shape, scale)
        steady, floor = steady_decode(network, bandwidth, flops, scale)
        generate, batch = best_generate(network, scale)
        figures = (steady, floor, whole_job(network, scale), generate, _continuous(network, scale))
        a, b, c, d, e = (f"{figure:,.0f}" for figure in figures)
        print(f"| {name} | {a} | {b} | {steady / floor:.0%} | {c} | {d} | {batch} | {e} |", flush=True)


def limits(scale: Scale) -> tuple[float, float]:
    """What the device can do: bytes a second that a copy reads and writes, and operations a second of a product."""
    return _bandwidth(scale), _flops(scale)


def random_network(layers: int, heads: int, width: int, scale: Scale) -> Any:
    """transformers' model of that shape, in bf16."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    with torch.device(scale.device):
        network = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=heads, n_embd=width, initializer_range=0.05))
    return network.to(torch.bfloat16).eval()


def random_engine(network: Any, scale: Scale) -> Any:
    """Our engine with a network's weights."""
    import torch
    from transformers import PreTrainedTokenizerFast

    from bench.random_gpt2 import END_OF_TEXT, byte_level_tokenizer
    from worker.engine.cuda.gpt2 import ROWS, CudaGPT2
    from worker.engine.engine import SlotEngine
    from worker.engine.tokenizer import ByteVocabulary

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level_tokenizer(), eos_token=END_OF_TEXT)
    rows = ROWS if scale.device == "cuda" else scale.slots  # a CPU is slow at the many that a GPU likes
    model = CudaGPT2(network.config, network.state_dict(), "bf16", torch.device(scale.device), rows)
    engine = SlotEngine(model, ByteVocabulary(tokenizer, network.config), scale.slots)
    engine.warm()
    return engine


def requests(count: int, scale: Scale) -> list[Any]:
    """Requests without a common beginning, each as long as the others."""
    from bench.random_gpt2 import words
    from contract.spec import SamplingSettings
    from worker.engine.sequence import Request

    vocabulary = words()
    settings = SamplingSettings(max_new_tokens=scale.new_tokens, min_new_tokens=scale.new_tokens, **SAMPLING)
    # Different from the first token on, so that no beginning is shared.
    texts = (
        "".join(vocabulary[(97 * number + i) % len(vocabulary)] for i in range(scale.prompt_tokens))
        for number in range(count)
    )
    return [Request(number, text, settings, number) for number, text in enumerate(texts)]


def steady_decode(network: Any, bandwidth: float, flops: float, scale: Scale) -> tuple[float, float]:
    """Tokens a second with all slots decoding, and what the device could do at most."""
    engine = random_engine(network, scale)
    engine.add(requests(scale.slots, scale))
    while engine.free or any(running.computed < len(running.prompt) for running in engine._running.values()):
        engine.step()
    before = sum(running.state.length for running in engine._running.values())
    seconds = _seconds(lambda: [engine.step() for _ in range(scale.steady_steps)])
    after = sum(running.state.length for running in engine._running.values())
    shape, parameters = engine.model.cache_shape, sum(each.numel() for each in network.parameters())
    position_bytes = 2 * shape.layers * shape.heads * shape.head_dim * shape.dtype.itemsize
    products = max(
        2 * parameters / bandwidth, 2 * parameters * scale.slots / flops
    )  # weights read once a step, or used
    floor = products + (before + after) / 2 * position_bytes / bandwidth
    return (after - before) / seconds, scale.slots / floor


def whole_job(network: Any, scale: Scale) -> float:
    """Tokens a second of twice as many requests as slots, from the first prompt to the last text."""
    engine, all_requests = random_engine(network, scale), requests(2 * scale.slots, scale)

    def run() -> None:
        engine.add(all_requests)
        while engine.pending:
            engine.step()

    return len(all_requests) * scale.new_tokens / _seconds(run)


def best_generate(network: Any, scale: Scale) -> tuple[float, int]:
    """Tokens a second of transformers' generate, and the batch size that it is fastest with."""
    return max((_generate(network, batch, scale), batch) for batch in scale.batches)


def _prompts(count: int, scale: Scale) -> Any:
    import torch

    return torch.randint(1000, 50_000, (count, scale.prompt_tokens), device=scale.device)


def _generate(network: Any, batch: int, scale: Scale) -> float:
    prompts, length = _prompts(batch, scale), scale.new_tokens
    mask = prompts.new_ones(prompts.shape)
    settings = {"do_sample": True, "min_new_tokens": length, "max_new_tokens": length, "pad_token_id": 0} | SAMPLING

    def run() -> None:
        network.generate(prompts, attention_mask=mask, **settings)

    run()
    return batch * length / _seconds(run)


def _continuous(network: Any, scale: Scale) -> float:
    from transformers import GenerationConfig

    prompts = _prompts(2 * scale.slots, scale).tolist()
    settings = GenerationConfig(
        max_new_tokens=scale.new_tokens, do_sample=True, eos_token_id=-1, pad_token_id=0, **SAMPLING
    )
    written: dict[str, Any] = {}

    def run() -> None:
        written.update(network.generate_batch(prompts, generation_config=settings, progress_bar=False))

    seconds = _seconds(run)
    return sum(len(output.generated_tokens) for output in written.values()) / seconds


def _bandwidth(scale: Scale) -> float:
    import torch

    source = torch.empty(scale.copied_bytes, dtype=torch.uint8, device=scale.device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * scale.copied_bytes * 20 / _seconds(lambda: [target.copy_(source) for _ in range(20)])


def _flops(scale: Scale) -> float:
    import torch

    matrix = torch.randn(scale.product, scale.product, dtype=torch.bfloat16, device=scale.device)
    matrix @ matrix
    return 2 * scale.product**3 * 20 / _seconds(lambda: [matrix @ matrix for _ in range(20)])


def _seconds(work: Callable[[], object]) -> float:
    import torch

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start
