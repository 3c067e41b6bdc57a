"""What is chosen before a training starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contract.errors import UsageError
from contract.tunings.order import TuningOrder
from worker.tuning.settled import Settled, Sizes, settle

GPT2 = Sizes(
    train_tokens=1_000_000, validation_tokens=50_000, positions=1024, parameters=124_000_000, layers=12, hidden=768,
    vocabulary=50_257, device="cpu", bfloat16=False, cores=2, memory=16 << 30,
)  # fmt: skip


def settled(sizes: Sizes = GPT2, **asked: Any) -> Settled:
    return settle(TuningOrder(**({"name": "tales", "base": "gpt2", "device": "cpu"} | asked)), sizes, {})


@pytest.mark.parametrize("tokens", [2, 9, 100, 1023, 1024, 1025, 10_000, 1_000_000, 300_000_000])
@pytest.mark.parametrize("asked", [{}, {"steps": 7}, {"epochs": 0.5}, {"rows": 3}, {"block": 64}])
def test_every_corpus_gets_steps_that_see_all_of_it(tokens: int, asked: dict[str, Any]) -> None:
    plan = settled(replace(GPT2, train_tokens=tokens), **asked)
    assert plan.order.block and plan.order.block <= min(1024, tokens - 1)
    assert plan.blocks == -(-(tokens - 1) // plan.order.block)
    assert plan.steps >= 1 and 1 <= plan.evaluate_every <= plan.steps
    if "steps" in asked:
        assert plan.steps == 7
    else:
        epochs = asked.get("epochs") or plan.order.epochs
        assert 0 <= plan.epoch(plan.steps) - epochs < plan.blocks_per_update / plan.blocks + 1e-9


def test_a_short_corpus_gets_more_epochs_and_smaller_updates() -> None:
    short, long = settled(replace(GPT2, train_tokens=40_000)), settled(replace(GPT2, train_tokens=60_000_000))
    assert (short.order.epochs, long.order.epochs) == (10, 1)
    assert (short.order.tokens_per_update, long.order.tokens_per_update) == (1024, 32_768)


def test_a_corpus_without_a_word_is_refused() -> None:
    with pytest.raises(UsageError, match="the corpus has 1 tokens"):
        settled(replace(GPT2, train_tokens=1))


def test_a_model_that_no_memory_holds_is_refused_with_a_way_out() -> None:
    large = replace(GPT2, parameters=1_500_000_000)
    with pytest.raises(UsageError, match=r"takes 24\.0 GB .* --lora 16"):
        settled(large)
    assert settled(large, lora_rank=16).order.lora_rank == 16


def test_where_memory_is_short_activations_are_computed_again() -> None:
    assert not settled().order.gradient_checkpointing
    short = settled(replace(GPT2, memory=5 << 30, layers=48, hidden=1600))
    assert short.order.gradient_checkpointing and short.order.rows == 1


def test_a_block_longer_than_the_models_positions_is_refused() -> None:
    with pytest.raises(UsageError, match="block is 2048, but the base model has 1024 positions"):
        settled(block=2048)


def test_an_evaluation_costs_a_tenth_of_the_training_at_most() -> None:
    plan = settled(replace(GPT2, validation_tokens=900_000))
    assert plan.validation_blocks <= 0.3 * plan.evaluate_every * plan.blocks_per_update + 1
    assert settled(replace(GPT2, validation_tokens=0)).validation_blocks == 0


def test_what_was_settled_survives_its_file() -> None:
    assert Settled.from_json(settled().to_json()) == settled()


def test_adapters_and_small_models_learn_faster() -> None:
    assert settled().order.learning_rate == 2e-4
    assert settled(lora_rank=8).order.learning_rate == 1e-3
    assert settled(replace(GPT2, parameters=1_000_000)).order.learning_rate == 1e-3
