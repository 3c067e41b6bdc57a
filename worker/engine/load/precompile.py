"""`python -m worker.engine.load.precompile KIND DTYPE HEAD_DIM`: compiles what such a model calls, and keeps it."""

from __future__ import annotations

import sys
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from worker.engine.cpu.gpt2 import GPT2
from worker.engine.decoder.decoder import Decoder
from worker.engine.decoder.row_wise import ACTIVATIONS, RowWiseActivation
from worker.engine.engine import SlotEngine

TOKENS, POSITIONS = 64, 32


def main() -> None:
    kind, dtype, head_dim = sys.argv[1], sys.argv[2], int(sys.argv[3])
    model = _decoder(dtype, head_dim) if kind == "decoder" else _gpt2(dtype, head_dim)
    no_texts: Any = None
    SlotEngine(model, no_texts, slots=1).warm()


def _gpt2(dtype: str, head_dim: int) -> GPT2:
    config = GPT2Config(vocab_size=TOKENS, n_positions=POSITIONS, n_embd=head_dim, n_layer=1, n_head=1)
    return GPT2(config, GPT2LMHeadModel(config).state_dict(), dtype)


def _decoder(dtype: str, head_dim: int) -> Decoder:
    for activate in ACTIVATIONS:  # a model has one of them
        RowWiseActivation(activate, 1)(torch.zeros(1, 1, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32))
    config = LlamaConfig(
        vocab_size=TOKENS,
        max_position_embeddings=POSITIONS,
        hidden_size=head_dim,
        intermediate_size=head_dim,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    network: Any = LlamaForCausalLM(config)  # its methods are untyped
    return Decoder(network.eval(), dtype)


if __name__ == "__main__":
    main()
