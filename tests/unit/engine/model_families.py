"""Small random models of many architectures, with a byte-level tokenizer, in the layout of real checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_models import make_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

GROUPED: dict[str, Any] = {"num_key_value_heads": 2}
GPT2_NAMES: dict[str, Any] = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 128}
FAR_QUERIES: dict[str, Any] = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "llama_4_scaling_beta": 0.5,
    "original_max_position_embeddings": 16,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED | {"head_dim": 20},
    "mistral": GROUPED | {"sliding_window": 9},  # shorter than the prompts
    "gemma2": GROUPED | {"head_dim": 16, "sliding_window": 9},
    "gemma3_text": GROUPED | {"head_dim": 16, "sliding_window": 9, "num_hidden_layers": 7},  # the last one sees all
    "phi3": GROUPED,
    "gpt_neox": {},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 48},
    "olmo2": GROUPED,
    "olmo": GROUPED | {"clip_qkv": 1.0},  # which most numbers reach
    "ministral3": GROUPED | {"rope_parameters": FAR_QUERIES},  # far queries are enlarged
    "smollm3": GROUPED,
    "stablelm": GROUPED | {"hidden_size": 64},  # a quarter of each head is rotated
    "starcoder2": GROUPED,
    "gpt_bigcode": GPT2_NAMES,
    "gpt2": GPT2_NAMES,
}


def make_network(family: str, vocabulary: int = 300, seed: int = 0, **changes: Any) -> Any:
    """float32; its logits are spread out enough that greedy texts mean something."""
    values = {
        "vocab_size": vocabulary,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "initializer_range": 0.25,
    }
    config: Any = AutoConfig
    model: Any = AutoModelForCausalLM
    torch.manual_seed(seed)
    network = (
        model.from_config(config.for_model(family, **(values | FAMILIES.get(family, {}) | changes))).float().eval()
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:  # biases and norms, too, or they would not be tested
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def make_checkpoint(folder: Path, family: str, **changes: Any) -> Path:
    tokenizer = make_tokenizer(folder)
    make_network(family, len(tokenizer), **changes).save_pretrained(folder)
    return folder
