"""GPT-2 as it is usually laid out, read without transformers, which takes longer to import than all the rest to load.

What is not exactly as expected here, be it unusual or broken, is left to transformers: it knows more, and says what is
wrong. Nothing but JSON and safetensors is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer

from worker.engine.load.checkpoint import Checkpoint
from worker.engine.tokenizer import END_OF_TEXT

LISTED = (int, list, type(None))  # what a configuration may say of the tokens that begin and end texts

OTHERWISE = {
    *("hidden_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"),  # other names for them
    *("configuration_files", "per_layer_config", "pruned_heads", "quantization_config"),
}
"""A configuration with one of these is read by transformers."""

NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
SILENT = {
    *("backend", "clean_up_tokenization_spaces", "errors", "is_local", "local_files_only", "model_max_length"),
    *("name_or_path", "special_tokens_map_file"),
}
"""What a tokenizer's configuration may say that changes no token."""

MASKS = (".attn.bias", ".attn.masked_bias")
"""Buffers that older checkpoints hold beside the weights."""

GPT2_CLASSES = ("GPT2Tokenizer", "GPT2TokenizerFast")
ANY_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")


@dataclass(frozen=True, slots=True)
class Config:
    """What the engine reads of a config.json; the names and the defaults are those of transformers' GPT2Config."""

    model_type: str = ""
    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True
    bos_token_id: int | list[int] | None = 50256
    eos_token_id: int | list[int] | None = 50256


class PlainTokenizer:
    """What `Vocabulary` asks of a tokenizer, under transformers' names, answered by the tokenizers library alone."""

    def __init__(self, backend: Tokenizer, named: dict[str, str | None]) -> None:
        """
        Args:
            named: the special tokens by what they are for.
        """
        self.backend_tokenizer = backend
        ids = {use: None if token is None else backend.token_to_id(token) for use, token in named.items()}
        self.bos_token_id, self.eos_token_id = ids["bos_token"], ids["eos_token"]
        self.all_special_ids = sorted({token for token in ids.values() if token is not None})
        self.added_tokens_decoder = backend.get_added_tokens_decoder()

    def __call__(self, text: str, *, add_special_tokens: bool = True, verbose: bool = True) -> dict[str, list[int]]:
        return {"input_ids": self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def get_vocab(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self.backend_tokenizer.get_vocab(with_added_tokens=True)
        return vocabulary


def read_config(folder: Path) -> Config | None:
    """The configuration, where it is a GPT-2's and says nothing unusual."""
    said = _json(folder / "config.json")
    if not isinstance(said, dict) or OTHERWISE & said.keys():
        return None
    known = {field.name: said[field.name] for field in fields(Config) if field.name in said}
    config = Config(**known)
    inner = 1 if config.n_inner is None else config.n_inner
    sizes = (config.vocab_size, config.n_positions, config.n_embd, config.n_layer, config.n_head, inner)
    switches = (
        *(config.scale_attn_weights, config.scale_attn_by_inverse_layer_idx),
        *(config.add_cross_attention, config.tie_word_embeddings),
    )
    usual = (
        config.model_type == "gpt2"
        and all(type(size) is int and size > 0 for size in sizes)
        and config.n_embd % config.n_head == 0
        and all(isinstance(switch, bool) for switch in switches)
        and isinstance(config.layer_norm_epsilon, float)
        and isinstance(config.activation_function, str)
        and isinstance(config.bos_token_id, LISTED)
        and isinstance(config.eos_token_id, LISTED)
    )
    return config if usual else None


def read_weights(checkpoint: Checkpoint, config: Config) -> dict[str, torch.Tensor] | None:
    """The weights, float32, by the names of GPT2LMHeadModel's state_dict, where they are in safetensors, and all there.

    The output layer may be missing where it is the token embedding.
    """
    if not checkpoint.safetensors:
        return None
    stored: dict[str, torch.Tensor] = {}
    try:
        for name in checkpoint.weights:
            if name.endswith(".safetensors"):
                stored |= load_file(checkpoint.folder / name)
    except (SafetensorError, OSError, ValueError):
        return None
    weights = {_full(name): tensor for name, tensor in stored.items() if not name.endswith(MASKS)}
    shapes = _shapes(config)
    if config.tie_word_embeddings and "lm_head.weight" not in weights:
        del shapes["lm_head.weight"]
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != shapes:
        return None
    if not all(tensor.is_floating_point() for tensor in weights.values()):
        return None
    return {name: tensor.float() for name, tensor in weights.items()}


def read_tokenizer(folder: Path) -> PlainTokenizer | None:
    """GPT-2's tokenizer: a byte-level BPE without any rule of its own, whose special tokens are all named."""
    said, parts = _json(folder / "tokenizer_config.json"), _json(folder / "tokenizer.json")
    if not isinstance(said, dict) or not isinstance(parts, dict):
        return None
    if (folder / "special_tokens_map.json").exists() or (folder / "added_tokens.json").exists():
        return None
    named = _special_tokens(said)
    try:
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # the library's own errors have no type
        return None
    if named is None or not _is_usual(parts, {token for token in named.values() if token is not None}):
        return None
    return PlainTokenizer(backend, named)


def _special_tokens(said: dict[str, Any]) -> dict[str, str | None] | None:
    """The special tokens that a tokenizer's configuration names, by their use."""
    kind = said.get("tokenizer_class") or GPT2_CLASSES[0]
    switches = (said.get(name) for name in ("add_prefix_space", "add_bos_token"))
    if kind not in (*GPT2_CLASSES, *ANY_CLASSES) or any(switches):
        return None
    if said.keys() - SILENT - {"tokenizer_class", "add_prefix_space", "add_bos_token", *NAMED}:
        return None
    usual = dict.fromkeys(NAMED[:3], END_OF_TEXT) if kind in GPT2_CLASSES else {}
    named = {use: said.get(use, usual.get(use)) for use in NAMED}
    return named if all(token is None or isinstance(token, str) for token in named.values()) else None


def _is_usual(parts: dict[str, Any], named: set[str]) -> bool:
    """Whether a tokenizer.json holds nothing but GPT-2's byte-level BPE."""
    match parts:
        case {
            "model": {"vocab": {**vocabulary}, "merges": [*_]} as model,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False} as split,
            "decoder": {"type": "ByteLevel"},
            "added_tokens": [*added],
            **others,
        }:
            rules = {name: model.get(name) for name in model.keys() - {"vocab", "merges", "type"}}
            return (
                model.get("type", "BPE") == "BPE"
                and not any(rules.values())
                and split.get("use_regex", True) is True
                and not any(others.get(name) for name in ("normalizer", "truncation", "padding"))
                and _adds_nothing(others.get("post_processor"))
                and {token["content"] for token in added} == named <= vocabulary.keys()
            )
    return False


def _adds_nothing(after: object) -> bool:
    """Whether a post-processor leaves the tokens of a text as they are."""
    match after:
        case None | {"type": "ByteLevel"}:
            return True
        case {"type": "TemplateProcessing", "special_tokens": {**special}}:
            return not special
    return False


def _full(name: str) -> str:
    """A weight's name in the language model; it may be stored under that in the model without the output layer."""
    return name if name.startswith("transformer.") or name == "lm_head.weight" else f"transformer.{name}"


def _inner(config: Config) -> int:
    return 4 * config.n_embd if config.n_inner is None else config.n_inner


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Every weight of a GPT-2 and its shape; linear layers are [in, out]."""
    width, inner = config.n_embd, _inner(config)
    linear = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, inner),
        "mlp.c_proj": (inner, width),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (config.vocab_size, width),
        "transformer.wpe.weight": (config.n_positions, width),
        "lm_head.weight": (config.vocab_size, width),
    }
    norms = ["transformer.ln_f"]
    for index in range(config.n_layer):
        prefix = f"transformer.h.{index}"
        norms += [f"{prefix}.ln_1", f"{prefix}.ln_2"]
        for name, shape in linear.items():
            shapes |= {f"{prefix}.{name}.weight": shape, f"{prefix}.{name}.bias": shape[1:]}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
