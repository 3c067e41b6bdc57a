"""The engine on a GPU, where there is one: the same rules, and no byte that depends on the neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from expected_texts import expected_text
from tiny_models import load_tiny, make_gpt2, run_all, settings

from tests.unit.engine.cuda.test_sampler import CLOSE, ROWS, distance_to_an_edge, on_cpu, padded, random_state, same
from tests.unit.engine.test_invariance import mixed_requests
from worker.engine.cuda import sampler
from worker.engine.cuda.attention import attention, by_pages
from worker.engine.cuda.gpt2 import CudaGPT2
from worker.engine.cuda.graph import Graph
from worker.engine.engine import SlotEngine
from worker.engine.forward import Logits, Rows
from worker.engine.kv_cache import BLOCK, KVCache
from worker.engine.load.loading import load_engine
from worker.engine.sequence import Completion, Request

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is at hand")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gpt2(tmp_path_factory.mktemp("cuda"), seed=4)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_number_of_slots_changes_no_byte_on_cuda(folder: Path, dtype: str) -> None:
    def run(slots: int) -> dict[Any, Any]:
        return run_all(load_engine(str(folder), "cuda", dtype, slots).engine, mixed_requests())

    alone = run(1)
    for slots in (2, 7, 64):
        assert run(slots) == alone


def test_greedy_texts_on_cuda_are_those_of_transformers(folder: Path) -> None:
    tiny = load_tiny(folder)
    reference = tiny.reference.to("cuda")
    engine = load_engine(str(folder), "cuda", "fp32", 8).engine
    prompts = ["Once upon", "The river turned", "def grind(corn):"]
    greedy = settings(do_sample=False, max_new_tokens=12)
    reports = run_all(engine, [Request(prompt, prompt, greedy, 0) for prompt in prompts])
    for prompt in prompts:
        ids = tiny.tokenizer(prompt, return_tensors="pt").input_ids.to("cuda")
        made = reference.generate(ids, do_sample=False, max_new_tokens=12, pad_token_id=0)[0, ids.shape[1] :]
        text = expected_text(tiny.vocabulary, [], made.tolist())
        report = reports[prompt]
        assert isinstance(report, Completion)
        assert report.text == text


def test_memory_that_runs_out_on_the_device_halves_the_slots_and_loses_no_text(folder: Path) -> None:
    engine = load_engine(str(folder), "cuda", "fp32", 8).engine
    assert isinstance(engine, SlotEngine)
    expected = run_all(load_engine(str(folder), "cuda", "fp32", 1).engine, mixed_requests())
    forward, failures = engine.model.forward, iter([True, False, True])

    def scarce(rows: Rows, cache: KVCache) -> Logits:
        if next(failures, False):
            torch.empty(1 << 60, device="cuda")  # a real refusal of the allocator
        return forward(rows, cache)

    engine.model.forward = scarce  # type: ignore[method-assign]
    assert run_all(engine, mixed_requests()) == expected
    assert engine.slots == 2


def test_the_forward_pass_is_recorded_as_a_graph(folder: Path) -> None:
    engine = load_engine(str(folder), "cuda", "bf16", 4).engine
    assert isinstance(engine, SlotEngine)
    run_all(engine, mixed_requests()[:5])
    assert isinstance(engine.model, CudaGPT2)
    assert all(isinstance(made, Graph) for made in engine.model._passes.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_attention_kernel_gives_what_torch_gives(dtype: torch.dtype) -> None:
    heads, head_dim, rows, pages = 3, 64, 40, 4
    tables = torch.randperm(rows * pages, device="cuda").view(rows, pages).int()
    positions = torch.randint(0, pages * BLOCK, (rows,), device="cuda").int()
    keys, values = (torch.randn(rows * pages, heads, BLOCK, head_dim, device="cuda").to(dtype) for _ in range(2))
    projected = torch.randn(rows, 3 * heads * head_dim, device="cuda").to(dtype)
    case = (projected, keys, values, tables, positions, head_dim**-0.5)
    torch.testing.assert_close(attention(projected.device)(*case), by_pages(*case))


@pytest.mark.parametrize("ties", [False, True])
def test_the_device_draws_what_the_cpu_draws(ties: bool) -> None:
    chance = np.random.default_rng(0)
    states = [random_state(chance, 2000) for _ in range(ROWS)]
    logits = torch.from_numpy(chance.normal(size=(ROWS, 2000)).astype(np.float32) * 3 - 2)
    logits = (logits * 2).round() / 2 + 0.0 if ties else logits
    drawn = sampler.sample(padded(logits).cuda(), 2000, states, ROWS)
    for row, (ours, theirs) in enumerate(zip(drawn, on_cpu(logits, states), strict=True)):
        assert same(ours, theirs) or distance_to_an_edge(logits[row], states[row]) < 10 * CLOSE, (row, ours, theirs)
