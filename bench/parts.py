"""What each part of the engine's step costs, beside the plain way to do it: `python -m bench.parts`.

One decode step of GPT-2 124M, 128 sequences of 48 to 160 positions, random numbers, two threads. Both ways take turns
in one run, so that what else the machine does weighs on both; the least of 15 turns counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from contract.spec import SamplingSettings
from worker.engine.cpu.attention import NOT_ROTATED, CacheRows, attend, plain_rules, share_out
from worker.engine.cpu.linear import Activations, Products, activations, linear
from worker.engine.forward import Logits
from worker.engine.kv_cache import CacheShape, KVCache
from worker.engine.sampling.sampler import sample
from worker.engine.sampling.state import SamplingState
from worker.processor import has_int8

ROWS, LAYERS, HEADS, HEAD_DIM, WIDTH, VOCABULARY = 128, 12, 12, 64, 768, 50_257
SHAPES = ((768, 2304, False), (768, 768, False), (768, 3072, True), (3072, 768, False))  # in, out, with GELU
TURNS, THREADS = 15, 2


@dataclass(frozen=True, slots=True)
class Pair:
    """A part of the step: the plain way and ours. Each call is a whole step's worth of it."""

    name: str
    plain_name: str
    plain: Callable[[], object]
    ours: Callable[[], object]


def main() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    print(f"{ROWS} rows, {THREADS} threads, ms a decode step\n")
    print("| part | plain | ms | ours ms | times |\n|---|---|---|---|---|")
    with torch.inference_mode():
        for pair in (*layers(), *heads(), *attentions(), *samplings()):
            plain, ours = timed(pair.plain, pair.ours)
            print(f"| {pair.name} | {pair.plain_name} | {plain:.1f} | {ours:.1f} | {plain / ours:.1f} |", flush=True)


def timed(*ways: Callable[[], object]) -> list[float]:
    """The least milliseconds of each way, in turns."""
    least = [float("inf")] * len(ways)
    for _ in range(TURNS):
        for index, way in enumerate(ways):
            start = time.perf_counter()
            way()
            least[index] = min(least[index], time.perf_counter() - start)
    return [seconds * 1e3 for seconds in least]


def layers() -> list[Pair]:
    """The four linear layers of all blocks."""
    pairs = []
    for dtype in ("fp32", "bf16", "int8") if has_int8() else ("fp32", "bf16"):
        kind = torch.float32 if dtype == "fp32" else torch.bfloat16
        plain, ours = [], []
        for inputs, outputs, gelu in SHAPES:
            weight, bias = torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs)
            packed, rows = linear(weight, bias, dtype, THREADS), torch.randn(ROWS, inputs)
            ours.append((packed.activated if gelu else packed, activations(rows, dtype, THREADS)))
            plain.append((rows.to(kind), weight.to(kind), bias.to(kind), gelu))

        def plain_run(plain: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, bool]] = plain) -> None:
            for rows, weight, bias, gelu in plain * LAYERS:
                result = F.linear(rows, weight, bias)
                F.gelu(result, approximate="tanh") if gelu else None

        def ours_run(ours: list[tuple[Callable[[Activations], object], Activations]] = ours) -> None:
            for layer, rows in ours * LAYERS:
                layer(rows)

        name = "bf16 F.linear, F.gelu" if dtype == "int8" else "F.linear, F.gelu"
        pairs.append(Pair(f"linear layers, {dtype}", name, plain_run, ours_run))
    return pairs


def heads() -> list[Pair]:
    """The head: float32 is what keeps GPT-2's logits exact where their mean is not taken out."""
    weight, rows = torch.randn(VOCABULARY, WIDTH) / 20, torch.randn(ROWS, WIDTH)
    packed, half = linear(weight, None, "bf16", THREADS), Activations(rows.bfloat16())
    return [Pair("head, bf16 centred", "F.linear in fp32", lambda: F.linear(rows, weight), lambda: packed(half))]


def attentions() -> list[Pair]:
    random = np.random.default_rng(0)
    positions = random.integers(48, 160, ROWS)
    projected = torch.randn(ROWS, 3 * WIDTH).bfloat16()
    attended = Activations(torch.empty(ROWS, WIDTH).bfloat16())
    rules = plain_rules(HEAD_DIM**-0.5, HEADS)

    def ours(dtype: torch.dtype) -> Callable[[], None]:
        cache = _filled_cache(positions, dtype)
        rows = CacheRows(cache.tables, positions, share_out(positions, THREADS))

        def run() -> None:
            for layer in range(LAYERS):
                products = Products(projected).arrays
                attend(products, NOT_ROTATED, cache.layer(layer), rows, rules, attended.arrays)

        return run

    half = ours(torch.bfloat16)
    longest = int(positions.max()) + 1
    keys, values = (torch.randn(LAYERS, ROWS, HEADS, longest, HEAD_DIM).bfloat16() for _ in range(2))
    query = torch.randn(ROWS, HEADS, 1, HEAD_DIM).bfloat16()
    seen = torch.arange(longest) <= torch.from_numpy(positions)[:, None]  # [rows, longest]
    mask = torch.zeros(ROWS, 1, 1, longest).masked_fill_(~seen[:, None, None], -torch.inf).bfloat16()

    def fused() -> None:
        for layer in range(LAYERS):
            F.scaled_dot_product_attention(query, keys[layer], values[layer], mask)

    def row_by_row() -> None:
        for layer in range(LAYERS):
            for row, position in enumerate(positions.tolist()):
                own_keys, own_values = keys[layer, row, :, : position + 1], values[layer, row, :, : position + 1]
                scores = torch.bmm(query[row].float(), own_keys.float().transpose(1, 2))
                torch.bmm(torch.softmax(scores, dim=-1), own_values.float())

    return [
        Pair("decode attention, bf16", "SDPA with a mask", fused, half),
        Pair("decode attention, bf16", "a loop of torch calls over rows", row_by_row, half),
        Pair("decode attention, 8-bit cache", "ours, bf16", half, ours(torch.int8)),
    ]


def _filled_cache(positions: npt.NDArray[np.int64], dtype: torch.dtype) -> KVCache:
    """A cache with so many random positions in each slot."""
    cache = KVCache(CacheShape(LAYERS, HEADS, 1024, HEAD_DIM, dtype), ROWS, torch.device("cpu"))
    for position in range(0, 160, 16):  # sequences grow side by side, and so do their blocks
        for slot in range(ROWS):
            cache.reserve(slot, min(position + 16, int(positions[slot]) + 1))
    used = int(cache.tables.max()) + 1
    is_int8 = dtype == torch.int8
    for store, scales in ((cache.keys, cache.key_scales), (cache.values, cache.value_scales)):
        store[:, :used] = torch.randn(LAYERS, used, HEADS, 32, HEAD_DIM) * (40 if is_int8 else 1)
        if is_int8:
            scales[:, :used] = 1 / 40
    return cache


def samplings() -> list[Pair]:
    unscaled = torch.randn(ROWS, VOCABULARY) * 1.4
    logits = Logits(unscaled.bfloat16(), np.zeros(ROWS, np.float32))
    pairs = []
    for name, settings in (
        ("top_k 50, top_p 0.95", SamplingSettings(temperature=0.9, top_k=50, top_p=0.95)),
        ("top_p 0.95 alone", SamplingSettings(temperature=0.9, top_k=0, top_p=0.95)),
        ("nothing but temperature", SamplingSettings(temperature=0.9, top_k=0)),
        ("penalties and n-gram ban", SamplingSettings(repetition_penalty=1.2, no_repeat_ngram_size=3)),
    ):
        states = [SamplingState(settings, seed, list(range(100))) for seed in range(ROWS)]
        plain = warper(unscaled, settings)
        pairs.append(Pair(f"sampling, {name}", "torch, all rows alike", plain, lambda of=states: sample(logits, of)))
    return pairs


def warper(unscaled: torch.Tensor, settings: SamplingSettings) -> Callable[[], object]:
    """Sampling as transformers' warpers do it: every row with the same settings."""
    from transformers import (
        LogitsProcessorList,
        NoRepeatNGramLogitsProcessor,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    steps = LogitsProcessorList([TemperatureLogitsWarper(settings.temperature)])
    if settings.repetition_penalty != 1:
        steps.insert(0, RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
        steps.insert(1, NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if settings.top_k:
        steps.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        steps.append(TopPLogitsWarper(settings.top_p))
    context = torch.arange(100).repeat(ROWS, 1)

    def plain() -> object:
        scores = steps(context, unscaled.clone())
        torch.log_softmax(unscaled, dim=-1)
        return torch.multinomial(torch.softmax(scores, dim=-1), 1)

    return plain


if __name__ == "__main__":
    main()
