"""Perplexity, compared with transformers computing each window by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from worker.engine.cpu.gpt2 import GPT2
from worker.engine.decoder.decoder import Decoder
from worker.evaluation import perplexity
from worker.evaluation.perplexity import evaluate
from worker.evaluation.windows import windows

POSITIONS, VOCABULARY = 64, 90
TOKENS = np.random.default_rng(3).integers(0, VOCABULARY, 200)


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3
    )
    return GPT2LMHeadModel(config)


def llama() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=POSITIONS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config)


def by_transformers(network: Any, tokens: np.ndarray, positions: int) -> float:
    """The guide's loop: https://huggingface.co/docs/transformers/perplexity, with each token counted exactly once."""
    total, previous_end = 0.0, 1
    network.eval()
    for start in range(0, len(tokens), positions // 2):
        end = min(start + positions, len(tokens))
        ids = torch.tensor(tokens[start:end])[None]
        labels = ids.clone()
        labels[0, : previous_end - start] = -100
        with torch.no_grad():
            total += float(network(ids, labels=labels).loss) * (end - previous_end)
        previous_end = end
        if end == len(tokens):
            break
    return math.exp(total / (len(tokens) - 1))


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("length", [2, 63, 64, 65, 96, 200])
def test_the_perplexity_is_that_of_transformers(make: Any, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perplexity, "ROWS", 20)
    network, tokens = make(), TOKENS[:length]
    expected = by_transformers(network, tokens, POSITIONS)
    assert evaluate(network, tokens, POSITIONS).perplexity == pytest.approx(expected, rel=1e-5)
    model = GPT2(network.config, network.state_dict()) if make is gpt2 else Decoder(network.eval(), "fp32")
    assert evaluate(model, tokens.astype(np.uint16), POSITIONS).perplexity == pytest.approx(expected, rel=1e-5)


def test_a_network_comes_back_as_it_was_and_can_be_trained_on() -> None:
    network = llama().train()
    result = evaluate(network, TOKENS, POSITIONS)
    assert network.training
    network(torch.tensor(TOKENS[None, :10]), labels=torch.tensor(TOKENS[None, :10])).loss.backward()
    assert evaluate(network, TOKENS, POSITIONS) == result


def test_every_pass_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perplexity, "ROWS", 20)
    signs: list[int] = []
    evaluate(gpt2(), TOKENS[:65], POSITIONS, lambda: signs.append(1))
    assert len(signs) == 4 + 2


def test_every_token_but_the_first_counts_once() -> None:
    for tokens in range(2, 40):
        for positions in (2, 3, 8, 11):
            counted = [token for window in windows(tokens, positions) for token in range(window.scored, window.end)]
            assert counted == list(range(1, tokens))
            assert all(window.end - window.start <= positions for window in windows(tokens, positions))


def test_a_text_of_one_token_has_no_perplexity() -> None:
    with pytest.raises(ValueError, match="nothing to predict"):
        evaluate(gpt2(), TOKENS[:1], POSITIONS)


def test_bits_per_byte_count_the_whole_text() -> None:
    assert perplexity.Evaluation(8 * math.log(2), 3).bits_per_byte(4) == pytest.approx(2)
    assert perplexity.Evaluation(1e6, 2).perplexity == math.inf
