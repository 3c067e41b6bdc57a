"""`python -m worker.engine.load.precompile KIND DTYPE`: compiles what such a model calls, and keeps it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from worker.engine.cpu.gpt2 import GPT2
from worker.engine.decoder.decoder import Decoder
from worker.engine.engine import SlotEngine

TOKENS, POSITIONS, HEAD_DIM = 64, 32, 64


def main() -> None:
    kind, dtype = sys.argv[1:]
    models = _decoders(dtype) if kind == "decoder" else [GPT2(*_gpt2(), dtype)]
    no_texts: Any = None
    for model in models:
        SlotEngine(model, no_texts, slots=1).warm()


def _gpt2() -> tuple[GPT2Config, dict[str, torch.Tensor]]:
    config = GPT2Config(vocab_size=TOKENS, n_positions=POSITIONS, n_embd=HEAD_DIM, n_layer=1, n_head=1)
    return config, GPT2LMHeadModel(config).state_dict()


def _decoders(dtype: str) -> Iterator[Decoder]:
    """One whose layers are fused, and one whose are not."""
    config = LlamaConfig(
        vocab_size=TOKENS,
        max_position_embeddings=POSITIONS,
        hidden_size=HEAD_DIM,
        intermediate_size=HEAD_DIM,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    for network in (LlamaForCausalLM(config), GPT2LMHeadModel(_gpt2()[0])):
        untyped: Any = network
        yield Decoder(untyped.eval(), dtype)


if __name__ == "__main__":
    main()
