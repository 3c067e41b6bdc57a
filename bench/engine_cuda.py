"""Our engine on a GPU, beside the floor that its memory and its matrix units set, and beside transformers.

`python -m bench.engine --device cuda`. Random weights in GPT-2's four shapes, bf16. Nothing of it was run yet: no
GPU was at hand.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.workloads import SAMPLING

SHAPES = {  # layers, heads, width
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}
SLOTS = 256
PROMPT_TOKENS, NEW_TOKENS = 64, 256
STEADY_STEPS = 100
BATCHES = (64, 256, 512)  # of transformers' generate
GIB = 2**30


def main(_asked: argparse.Namespace) -> None:
    import torch

    if not torch.cuda.is_available():
        print("torch finds no CUDA GPU here; measure on a machine that has one", file=sys.stderr)
        sys.exit(2)
    bandwidth, flops = _bandwidth(), _flops()
    print(
        f"{torch.cuda.get_device_name()}: copies {bandwidth / 1e9:,.0f} GB/s, bf16 products {flops / 1e12:,.0f} TFLOP/s"
    )
    print("| model | steady decode, tok/s | floor, tok/s | share | whole job | generate | batch | continuous |")
    print("|---|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        network = _network(*shape)
        steady, floor = _steady(network, bandwidth, flops)
        generate, batch = max((_generate(network, batch), batch) for batch in BATCHES)
        figures = (steady, floor, _whole(network), generate, _continuous(network))
        a, b, c, d, e = (f"{figure:,.0f}" for figure in figures)
        print(f"| {name} | {a} | {b} | {steady / floor:.0%} | {c} | {d} | {batch} | {e} |", flush=True)


def _network(layers: int, heads: int, width: int) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    with torch.device("cuda"):
        network = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=heads, n_embd=width, initializer_range=0.05))
    return network.to(torch.bfloat16).eval()


def _engine(network: Any) -> Any:
    import torch
    from transformers import PreTrainedTokenizerFast

    from bench.random_gpt2 import END_OF_TEXT, byte_level_tokenizer
    from worker.engine.cuda.gpt2 import CudaGPT2
    from worker.engine.engine import SlotEngine
    from worker.engine.tokenizer import ByteVocabulary

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level_tokenizer(), eos_token=END_OF_TEXT)
    model = CudaGPT2(network.config, network.state_dict(), "bf16", torch.device("cuda", 0))
    engine = SlotEngine(model, ByteVocabulary(tokenizer, network.config), SLOTS)
    engine.warm()
    return engine


def _requests(count: int) -> list[Any]:
    from bench.random_gpt2 import words
    from contract.spec import SamplingSettings
    from worker.engine.sequence import Request

    spelled = words()
    own = SamplingSettings(max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, **SAMPLING)
    # Different from the first token on, so that no beginning is shared.
    texts = (
        "".join(spelled[(97 * number + i) % len(spelled)] for i in range(PROMPT_TOKENS)) for number in range(count)
    )
    return [Request(number, text, own, number) for number, text in enumerate(texts)]


def _steady(network: Any, bandwidth: float, flops: float) -> tuple[float, float]:
    """Tokens a second with all slots decoding, and what the device could do at most."""
    engine = _engine(network)
    engine.add(_requests(SLOTS))
    while engine.free or any(row.computed < len(row.prompt) for row in engine._rows.values()):
        engine.step()
    before = sum(row.state.length for row in engine._rows.values())
    seconds = _seconds(lambda: [engine.step() for _ in range(STEADY_STEPS)])
    after = sum(row.state.length for row in engine._rows.values())
    shape, parameters = engine.model.cache_shape, sum(each.numel() for each in network.parameters())
    position_bytes = 2 * shape.layers * shape.heads * shape.head_dim * shape.dtype.itemsize
    products = max(2 * parameters / bandwidth, 2 * parameters * SLOTS / flops)  # weights read once a step, or used
    floor = products + (before + after) / 2 * position_bytes / bandwidth
    return (after - before) / seconds, SLOTS / floor


def _whole(network: Any) -> float:
    engine, requests = _engine(network), _requests(2 * SLOTS)

    def run() -> None:
        engine.add(requests)
        while engine.pending:
            engine.step()

    return len(requests) * NEW_TOKENS / _seconds(run)


def _prompts(count: int) -> Any:
    import torch

    return torch.randint(1000, 50_000, (count, PROMPT_TOKENS), device="cuda")


def _generate(network: Any, batch: int) -> float:
    prompts = _prompts(batch)
    mask = prompts.new_ones(prompts.shape)
    own = {"do_sample": True, "min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS, "pad_token_id": 0} | SAMPLING

    def run() -> None:
        network.generate(prompts, attention_mask=mask, **own)

    run()
    return batch * NEW_TOKENS / _seconds(run)


def _continuous(network: Any) -> float:
    from transformers import GenerationConfig

    prompts = _prompts(2 * SLOTS).tolist()
    own = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=True, eos_token_id=-1, pad_token_id=0, **SAMPLING)
    written: dict[str, Any] = {}

    def run() -> None:
        written.update(network.generate_batch(prompts, generation_config=own, progress_bar=False))

    seconds = _seconds(run)
    return sum(len(output.generated_tokens) for output in written.values()) / seconds


def _bandwidth() -> float:
    """Bytes a second that a copy reads and writes."""
    import torch

    source = torch.empty(GIB, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * GIB * 20 / _seconds(lambda: [target.copy_(source) for _ in range(20)])


def _flops() -> float:
    """Floating-point operations a second of a large bf16 product."""
    import torch

    size = 8192
    one = torch.randn(size, size, dtype=torch.bfloat16, device="cuda")
    one @ one
    return 2 * size**3 * 20 / _seconds(lambda: [one @ one for _ in range(20)])


def _seconds(work: Callable[[], object]) -> float:
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start
