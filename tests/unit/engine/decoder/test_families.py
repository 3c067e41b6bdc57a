"""Any architecture whose attention we can take over: its own greedy texts, and the same in any company."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from model_families import FAMILIES, make_checkpoint
from tiny_models import SENTENCES, run_all, settings
from transformers import AutoModelForCausalLM

from worker.engine.load.loading import load_engine
from worker.engine.sequence import Completion, Request

PROMPTS = [SENTENCES[0][:40], SENTENCES[2][:25], "The", SENTENCES[1]]


@pytest.fixture(autouse=True)
def no_model_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2 has another forward pass; here it goes the way of all others."""
    monkeypatch.setattr("worker.engine.cpu.gpt2.supports", lambda _: False)


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("family"), request.param)


def mixed_requests() -> list[Request]:
    chance = random.Random(0)
    return [
        Request(
            number,
            (SENTENCES[number % len(SENTENCES)] * 2)[: chance.choice([1, 7, 30, 60])],
            settings(max_new_tokens=chance.randint(1, 9), do_sample=bool(number % 3), logprobs=number % 2),
            chance.getrandbits(53),
        )
        for number in range(24)
    ]


def greedy_tokens(engine: Any, network: Any, prompt: str) -> tuple[list[str], list[str]]:
    """Ours, and what transformers itself would write."""
    greedy = settings(max_new_tokens=12, do_sample=False, logprobs=1)
    (ours,) = run_all(engine, [Request(0, prompt, greedy, 0)]).values()
    assert isinstance(ours, Completion)
    tokens, end = list(engine.read(prompt, greedy).tokens), network.config.get_text_config().eos_token_id
    written: list[int] = []
    while len(written) < 12 and written[-1:] != [end]:
        with torch.inference_mode():
            written.append(int(network(torch.tensor([tokens + written])).logits[0, -1].argmax()))
    return [entry["token"] for entry in ours.logprobs or ()], [engine._vocabulary.shown(token) for token in written]


def test_it_has_slots_and_writes_what_transformers_would(checkpoint: Path) -> None:
    loaded = load_engine(str(checkpoint), "cpu", "fp32", slots=3)
    assert loaded.why_fallback is None
    model: Any = AutoModelForCausalLM
    network = model.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
    for prompt in PROMPTS:
        ours, theirs = greedy_tokens(loaded.engine, network, prompt)
        assert ours == theirs


def test_a_text_is_the_same_alone_and_in_any_company(checkpoint: Path) -> None:
    compare_alone_and_in_company(checkpoint, "bf16")


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_a_text_is_the_same_alone_and_in_any_company_in_other_dtypes(checkpoint: Path, dtype: str) -> None:
    compare_alone_and_in_company(checkpoint, dtype)


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_a_text_of_the_hardest_is_the_same_in_other_dtypes(tmp_path: Path, dtype: str) -> None:
    """Gemma 3 has windows of its own kind, norms within attention, and two rotary embeddings."""
    compare_alone_and_in_company(make_checkpoint(tmp_path, "gemma3_text"), dtype)


def compare_alone_and_in_company(checkpoint: Path, dtype: str) -> None:
    loaded = load_engine(str(checkpoint), "cpu", dtype, slots=1)
    assert loaded.why_fallback is None
    engine: Any = loaded.engine
    alone = run_all(engine, mixed_requests())
    for slots in (7, 64):
        requests = mixed_requests()
        random.Random(slots).shuffle(requests)
        beside = run_all(type(engine)(engine.model, engine._vocabulary, slots), requests)
        assert beside == alone
