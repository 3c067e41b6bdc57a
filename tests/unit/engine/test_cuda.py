"""The engine on a GPU, where there is one: the same rules, and no byte that depends on the neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_invariance import mixed_requests
from tiny_models import load_tiny, make_gpt2, run_all, settings

from worker.engine.loading import load_engine
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
        text = tiny.tokenizer.decode(made, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        report = reports[prompt]
        assert isinstance(report, Completion)
        assert report.text == text


def test_memory_that_runs_out_on_the_device_halves_the_slots_and_loses_no_text(folder: Path) -> None:
    engine = load_engine(str(folder), "cuda", "fp32", 8).engine
    expected = run_all(load_engine(str(folder), "cuda", "fp32", 1).engine, mixed_requests())
    decode, failures = engine.model.decode, iter([True, False, True])  # type: ignore[union-attr]

    def scarce(*arguments: Any) -> torch.Tensor:
        if next(failures, False):
            torch.empty(1 << 60, device="cuda")  # a real refusal of the allocator
        return decode(*arguments)

    engine.model.decode = scarce  # type: ignore[union-attr, method-assign]
    assert run_all(engine, mixed_requests()) == expected
    assert engine.slots == 2
