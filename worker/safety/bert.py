"""BERT that classifies texts (Devlin et al. 2019), read without transformers, which takes longer to import than this.

What is not exactly as expected here, be it unusual or broken, is left to transformers: it knows more, and says what is
wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch import nn

from worker.safety.checkpoint import Checkpoint
from worker.safety.linear import Activated
from worker.safety.network import Encoder

MODEL, TOKENIZERS = "BertForSequenceClassification", ("BertTokenizer", "BertTokenizerFast")

OTHERWISE = {"pruned_heads", "quantization_config"}
"""A configuration with one of these is read by transformers."""

UNKNOWN, FIRST, LAST = "[UNK]", "[CLS]", "[SEP]"
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": UNKNOWN,
    "cls_token": FIRST,
    "sep_token": LAST,
    "mask_token": "[MASK]",
}
USUAL = SPECIAL | {
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "do_basic_tokenize": True,
    "never_split": None,
}
"""What a tokenizer's configuration may say of its rules."""

SILENT = {
    *("backend", "clean_up_tokenization_spaces", "do_lower_case", "is_local", "local_files_only"),
    *("model_max_length", "name_or_path", "special_tokens_map_file", "tokenizer_class"),
}
"""What else it may say: lower case and the length are looked at, the rest changes no token."""

COMPARED = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "model")
"""What of a tokenizer.json decides about tokens."""


@dataclass(frozen=True, slots=True)
class Config:
    """What is read of a config.json; the names and the defaults are those of transformers' BertConfig."""

    model_type: str = ""
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    is_decoder: bool = False
    add_cross_attention: bool = False

    @property
    def usual(self) -> bool:
        """Whether every part is what this module knows."""
        sizes = (
            *(self.vocab_size, self.hidden_size, self.num_hidden_layers, self.num_attention_heads),
            *(self.intermediate_size, self.max_position_embeddings, self.type_vocab_size),
        )
        return (
            (self.model_type, self.hidden_act, self.position_embedding_type) == ("bert", "gelu", "absolute")
            and all(type(size) is int and size > 0 for size in sizes)
            and self.hidden_size % self.num_attention_heads == 0
            and isinstance(self.layer_norm_eps, float)
            and (self.pad_token_id is None or type(self.pad_token_id) is int)
            and (self.is_decoder, self.add_cross_attention) == (False, False)
        )


class Layer(nn.Module):
    """Attention and a feed-forward part, each followed by the norm of its sum with what went in."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self._heads = config.num_attention_heads
        self.attended = nn.Linear(width, 3 * width)  # query, key and value
        self.joined = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.inner = Activated(width, inner)
        self.outer = nn.Linear(inner, width)
        self.last_norm = nn.LayerNorm(width, config.layer_norm_eps)

    def forward(self, numbers: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """[rows, length, width] to the same; mask: [rows, 1, 1, length], added to the scores of attention."""
        rows, length, width = numbers.shape
        parts = self.attended(numbers).view(rows, length, 3, self._heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # [rows, heads, length, width of a head] each
        read = F.scaled_dot_product_attention(query, key, value, mask)
        numbers = self.norm(numbers + self.joined(read.transpose(1, 2).reshape(rows, length, width)))
        result: torch.Tensor = self.last_norm(numbers + self.outer(self.inner(numbers)))
        return result


class Bert(nn.Module):
    """BERT with a classifier behind its first token."""

    def __init__(self, config: Config, outputs: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.words = _embedding(config.vocab_size, width)
        self.positions = _embedding(config.max_position_embeddings, width)
        self.kinds = _embedding(config.type_vocab_size, width)
        self.norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.pooled = nn.Linear(width, width)
        self.classified = nn.Linear(width, outputs)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Token ids [rows, length] to logits [rows, outputs]."""
        places = self.positions.weight[: tokens.shape[1]]  # [length, width]
        numbers = self.norm(self.words(tokens) + self.kinds.weight[0] + places)
        for layer in self.layers:
            numbers = layer(numbers, mask)
        logits: torch.Tensor = self.classified(torch.tanh(self.pooled(numbers[:, 0])))
        return logits


def _embedding(count: int, width: int) -> nn.Embedding:
    # Told its weights, it draws none; drawing them on the meta device would import torch's compiler.
    return nn.Embedding(count, width, _weight=torch.empty(count, width))


class Reader:
    """Texts to tokens, as transformers' BertTokenizer does it."""

    def __init__(self, backend: Tokenizer, longest: int) -> None:
        self.longest = longest
        self._backend = backend
        backend.enable_truncation(longest, stride=(longest - backend.num_special_tokens_to_add(False)) // 2)

    def windows(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """Of each text its windows, each of up to `longest` tokens; neighbours overlap by half."""
        read = self._backend.encode_batch_fast(texts)
        return [[part.ids for part in (first, *first.overflowing)] for first in read]


def read_bert(checkpoint: Checkpoint, folder: Path) -> tuple[Encoder, Reader] | None:
    """The network (float32, on the CPU) and the tokenizer of a checkpoint, where they are a BERT's and as usual.

    Args:
        folder: of the base configuration and the tokenizer.
    """
    if checkpoint.model_name != MODEL or checkpoint.tokenizer_name not in TOKENIZERS:
        return None
    config = _config(folder)
    if config is None:
        return None
    network, reader = _network(checkpoint, config), _reader(folder, config)
    if network is None or reader is None:
        return None
    return Encoder(network, network.layers, config.hidden_size, config.pad_token_id or 0), reader


def _config(folder: Path) -> Config | None:
    said = _json(folder / "config.json")
    if not isinstance(said, dict) or OTHERWISE & said.keys():
        return None
    config = Config(**{field.name: said[field.name] for field in fields(Config) if field.name in said})
    return config if config.usual else None


def _network(checkpoint: Checkpoint, config: Config) -> Bert | None:
    with torch.device("meta"):  # no numbers are drawn that the checkpoint's take the place of
        network = Bert(config, checkpoint.num_classes)
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    # transformers saved this buffer with the weights until 4.31, so older checkpoints hold it.
    left = {name: tensor for name, tensor in checkpoint.state_dict.items() if not name.endswith(".position_ids")}
    weights = {}
    for ours, theirs in _names(config.num_hidden_layers).items():
        for kind in ("weight", "bias"):
            if f"{ours}.{kind}" in wanted:
                parts = [left.pop(f"{name}.{kind}", None) for name in theirs]
                found = [part.float() for part in parts if part is not None and part.is_floating_point()]
                if len(found) < len(parts) or any(part.dim() != found[0].dim() for part in found):
                    return None
                weights[f"{ours}.{kind}"] = torch.cat(found) if len(found) > 1 else found[0]
    if left or {name: tensor.shape for name, tensor in weights.items()} != wanted:
        return None
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval()


def _names(layers: int) -> dict[str, tuple[str, ...]]:
    """Our names of the parts, and transformers'."""
    names: dict[str, tuple[str, ...]] = {
        "words": ("bert.embeddings.word_embeddings",),
        "positions": ("bert.embeddings.position_embeddings",),
        "kinds": ("bert.embeddings.token_type_embeddings",),
        "norm": ("bert.embeddings.LayerNorm",),
        "pooled": ("bert.pooler.dense",),
        "classified": ("classifier",),
    }
    for index in range(layers):
        ours, theirs = f"layers.{index}", f"bert.encoder.layer.{index}"
        names |= {
            f"{ours}.attended": tuple(f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")),
            f"{ours}.joined": (f"{theirs}.attention.output.dense",),
            f"{ours}.norm": (f"{theirs}.attention.output.LayerNorm",),
            f"{ours}.inner": (f"{theirs}.intermediate.dense",),
            f"{ours}.outer": (f"{theirs}.output.dense",),
            f"{ours}.last_norm": (f"{theirs}.output.LayerNorm",),
        }
    return names


def _reader(folder: Path, config: Config) -> Reader | None:
    said = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    names = _json(folder / "special_tokens_map.json") if (folder / "special_tokens_map.json").exists() else {}
    if not isinstance(said, dict) or not isinstance(names, dict) or (folder / "added_tokens.json").exists():
        return None
    others = {name: value for name, value in said.items() if name not in SILENT} | names
    longest, lower = said.get("model_max_length", config.max_position_embeddings), said.get("do_lower_case", True)
    usual = (
        all(name in USUAL and USUAL[name] == value for name, value in others.items())
        and said.get("tokenizer_class") in (None, *TOKENIZERS)
        and isinstance(lower, bool)
        and isinstance(longest, int)
    )
    vocabulary = _vocabulary(folder) if usual else None
    if vocabulary is None or not {*SPECIAL.values()} <= vocabulary.keys():
        return None
    if max(vocabulary.values()) >= config.vocab_size:
        return None
    backend = _backend(vocabulary, lower)
    longest = min(longest, config.max_position_embeddings)
    return Reader(backend, longest) if longest > 2 and _agrees(backend, folder / "tokenizer.json") else None


def _vocabulary(folder: Path) -> dict[str, int] | None:
    """Tokens and their ids, of tokenizer.json where there is one; transformers looks in the same order."""
    if not (folder / "tokenizer.json").exists():
        return _listed(folder / "vocab.txt")
    parts = _json(folder / "tokenizer.json")
    model = parts.get("model") if isinstance(parts, dict) else None
    found = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(found, dict) or not all(type(number) is int for number in found.values()):
        return None
    return found


def _listed(path: Path) -> dict[str, int] | None:
    """The tokens of a vocab.txt, one a line."""
    try:
        with path.open(encoding="utf-8") as file:
            tokens = [line.rstrip("\n") for line in file]
    except (OSError, ValueError):
        return None
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return vocabulary if len(vocabulary) == len(tokens) else None


def _backend(vocabulary: dict[str, int], lower: bool) -> Tokenizer:
    backend = Tokenizer(WordPiece(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{FIRST}:0 $A:0 {LAST}:0",
        pair=f"{FIRST}:0 $A:0 {LAST}:0 $B:1 {LAST}:1",
        special_tokens=[(FIRST, vocabulary[FIRST]), (LAST, vocabulary[LAST])],
    )
    backend.add_special_tokens(list(SPECIAL.values()))
    return backend


def _agrees(backend: Tokenizer, path: Path) -> bool:
    """Whether a tokenizer.json, where there is one, says nothing but what was built."""
    if not path.exists():
        return True
    try:
        stored = json.loads(Tokenizer.from_file(str(path)).to_str())
    except Exception:  # the library's own errors have no type
        return False
    built = json.loads(backend.to_str())
    return all(stored[part] == built[part] for part in COMPARED)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
