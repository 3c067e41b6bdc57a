"""A text depends on model, prompt, settings and seed alone: to the byte, in fp32, bf16 and int8."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import SENTENCES, Tiny, load_tiny, make_gpt2, run_all, settings

from worker.engine.compiled import compiling
from worker.engine.cpu.activation import activate
from worker.engine.cpu.attention import attend
from worker.engine.cpu.linear import quantise
from worker.engine.cpu.norm import add_and_norm, dot_products
from worker.engine.load.loading import load_engine
from worker.engine.sampling.sampler import sample_rows
from worker.engine.sequence import Request

MIXTURE: list[dict[str, Any]] = [
    {},
    {"do_sample": False},
    {"top_k": 0},
    {"top_k": 0, "top_p": 0.9},
    {"top_k": 5, "temperature": 0.7, "logprobs": 3},
    {"top_k": 0, "min_p": 0.05, "temperature": 1.5},
    {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.2},
    {"no_repeat_ngram_size": 2, "bad_words": ("the", "mill"), "stop": ("er", "\n")},
    {"top_p": 0.5, "min_new_tokens": 6, "logit_bias": ((0, 6.0), (70, 2.0))},
    {"do_sample": False, "repetition_penalty": 1.2, "stop": ("a",)},
]

ELSEWHERE = """
from worker.engine.compiled.compiling import code_folder
from worker.engine.load.loading import load_engine
from worker.engine.cpu.norm import add_and_norm, dot_products
from worker.engine.sampling.sampler import sample_rows
import worker
load_engine("demo", "cpu", "fp32")  # and runs it once
loops = [add_and_norm, dot_products, sample_rows]
hits = sum(sum(loop.stats.cache_hits.values()) for loop in loops)
misses = sum(sum(loop.stats.cache_misses.values()) for loop in loops)
print(worker.__file__, code_folder(), hits, misses)
"""
"""What a process of another installation says: its place, its folder, and how often it found code and did not."""


def mixed_requests() -> list[Request]:
    chance = random.Random(0)
    requests = []
    for number in range(60):
        sentence = chance.choice(SENTENCES) * 2
        prompt = sentence[: chance.choice([0, 1, 5, 17, 40, 70])]
        own = (
            settings(max_new_tokens=chance.randint(1, 22), **MIXTURE[number % len(MIXTURE)])
            if (number % len(MIXTURE) != 8)
            else settings(max_new_tokens=chance.randint(6, 22), **MIXTURE[8])
        )
        requests.append(Request(number, prompt, own, chance.getrandbits(53)))
    return requests


@pytest.fixture(
    scope="module", params=[f"{dtype} {shape}" for dtype in ("fp32", "bf16", "int8") for shape in ("plain", "odd")]
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    dtype, name = request.param.split()
    odd: dict[str, Any] = {"n_embd": 36, "n_head": 3, "n_inner": 90, "n_positions": 100}
    folder: Path = make_gpt2(tmp_path_factory.mktemp(dtype), seed=4, **(odd if name == "odd" else {}))
    return load_tiny(folder, dtype)


@pytest.fixture(scope="module")
def alone(model: Tiny) -> dict[Any, Any]:
    """Each request on its own, in one slot."""
    return run_all(model.engine(1), mixed_requests())


@pytest.mark.parametrize("slots", [2, 7, 64])
def test_the_number_of_slots_changes_no_byte(model: Tiny, alone: dict[Any, Any], slots: int) -> None:
    assert run_all(model.engine(slots), mixed_requests()) == alone


def test_order_changes_no_byte(model: Tiny, alone: dict[Any, Any]) -> None:
    requests = mixed_requests()
    random.Random(7).shuffle(requests)
    assert run_all(model.engine(11), requests) == alone


def test_neighbours_that_come_and_go_change_no_byte(model: Tiny, alone: dict[Any, Any]) -> None:
    requests = mixed_requests()
    engine = model.engine(16)
    engine.add(requests[:9])
    strangers = [Request(("stranger", i), "The mill", settings(max_new_tokens=40), i) for i in range(8)]
    reports: dict[Any, Any] = {}
    for turn in range(400):
        if turn % 2 and turn // 2 < len(requests) - 9:
            engine.add([requests[9 + turn // 2]])
        if turn % 10 == 0 and strangers:
            engine.add([strangers.pop()])
        if turn % 10 == 5:
            engine.cancel([("stranger", i) for i in range(8)])
        reports.update({report.key: report for report in engine.step()})
    assert {key: report for key, report in reports.items() if isinstance(key, int)} == alone


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_no_byte(
    model: Tiny, alone: dict[Any, Any], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = model.engine(13)
    monkeypatch.setattr(engine.model, "threads", threads)
    torch.set_num_threads(threads)
    try:
        assert run_all(engine, mixed_requests()) == alone
    finally:
        torch.set_num_threads(2)


def test_the_mixture_is_not_trivial(alone: dict[Any, Any]) -> None:
    assert {report.finish_reason for report in alone.values()} == {"stop", "length"}
    assert len({report.text for report in alone.values()}) > 35


def test_compiled_code_is_read_from_disk_and_never_compiled_here(model: Tiny, alone: dict[Any, Any]) -> None:
    """What numba has just compiled rounds otherwise than what it reads back: all processes must do the same."""
    loops: list[Any] = [attend, add_and_norm, dot_products, quantise, activate, sample_rows]
    before = [sum(loop.stats.cache_misses.values()) for loop in loops]  # of other tests, with arrays of their own
    assert len(run_all(model.engine(5), mixed_requests())) == len(alone)
    assert [sum(loop.stats.cache_misses.values()) for loop in loops] == before
    assert any(loop.stats.cache_hits for loop in loops)


def test_another_installation_of_the_same_sources_reads_the_same_code(tmp_path: Path) -> None:
    """Compiling takes half a minute, and two compilations of the same need not round alike."""
    load_engine("demo", "cpu", "fp32")
    before = compiled_code()
    package = compiling.ENGINE.parent
    shutil.copytree(package, tmp_path / "worker", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{ELSEWHERE}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    where, folder, hits, misses = done.stdout.split()
    assert Path(where).is_relative_to(tmp_path)
    assert Path(folder) == compiling.code_folder()
    assert int(hits) > 0 == int(misses)
    assert compiled_code() == before


def compiled_code() -> list[str]:
    """Names alone; other tests keep results of trials in the same folder meanwhile."""
    return sorted(path.name for path in compiling.code_folder().glob("*.nb?"))
