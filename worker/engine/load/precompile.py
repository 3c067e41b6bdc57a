"""`python -m worker.engine.load.precompile DTYPE HEAD_DIM`: compiles what such a model calls, and keeps it on disk."""

from __future__ import annotations

import sys
from typing import Any

from transformers import GPT2Config, GPT2LMHeadModel

from worker.engine.cpu.gpt2 import GPT2
from worker.engine.engine import SlotEngine


def main() -> None:
    dtype, head_dim = sys.argv[1], int(sys.argv[2])
    config = GPT2Config(vocab_size=64, n_positions=32, n_embd=head_dim, n_layer=1, n_head=1)
    model = GPT2(config, GPT2LMHeadModel(config).state_dict(), dtype)
    no_texts: Any = None
    SlotEngine(model, no_texts, slots=1).warm()


if __name__ == "__main__":
    main()
