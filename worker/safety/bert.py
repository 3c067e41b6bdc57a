"""BERT that classifies texts (Devlin et al. 2019), read without transformers, which takes longer to import than this.

What is not exactly as expected here, be it unusual or broken, is left to transformers: it knows more, and says what is
wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from worker.safety.checkpoint import Checkpoint
from worker.safety.network import Encoder
from worker.safety.wordpiece import CLASSES, WordPieceReader, read_wordpiece

MODEL = "BertForSequenceClassification"
MOST = 2**20  # of anything that a configuration counts: more is a mistake

NOTHING_OF_SCORES = {
    *("architectures", "attention_probs_dropout_prob", "bos_token_id", "classifier_dropout", "eos_token_id"),
    *("gradient_checkpointing", "hidden_dropout_prob", "id2label", "initializer_range", "label2id", "_name_or_path"),
    *("problem_type", "tie_word_embeddings", "transformers_version", "use_cache"),
}
"""What a config.json may say beside the fields of `Config`, for no score changes with it."""


@dataclass(frozen=True, slots=True)
class Config:
    """What is read of a config.json; the names and the defaults are those of transformers' BertConfig."""

    model_type: str = ""
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int | None = 0
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"
    chunk_size_feed_forward: int = 0
    is_decoder: bool = False
    add_cross_attention: bool = False
    dtype: str | None = None
    torch_dtype: str | None = None

    @property
    def usual(self) -> bool:
        """Whether every part is what this module knows."""
        sizes = (
            *(self.vocab_size, self.hidden_size, self.num_hidden_layers, self.num_attention_heads),
            *(self.intermediate_size, self.max_position_embeddings, self.type_vocab_size),
        )
        kind = (self.model_type, self.hidden_act, self.position_embedding_type, self.chunk_size_feed_forward)
        return (
            kind == ("bert", "gelu", "absolute", 0)
            and all(type(size) is int and 0 < size <= MOST for size in sizes)
            and self.hidden_size % self.num_attention_heads == 0
            and isinstance(self.layer_norm_eps, float)
            and (self.pad_token_id is None or self.pad_token_id in range(self.vocab_size))
            and (self.is_decoder, self.add_cross_attention) == (False, False)
            and {self.dtype, self.torch_dtype} <= {None, "float32"}
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
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)
        self.last_norm = nn.LayerNorm(width, config.layer_norm_eps)

    def forward(self, numbers: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """[rows, length, width] to the same; mask: [rows, 1, 1, length], added to the scores of attention."""
        rows, length, width = numbers.shape
        parts = self.attended(numbers).view(rows, length, 3, self._heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # [rows, heads, length, width of a head] each
        read = F.scaled_dot_product_attention(query, key, value, mask)
        numbers = self.norm(numbers + self.joined(read.transpose(1, 2).reshape(rows, length, width)))
        result: torch.Tensor = self.last_norm(numbers + self.outer(F.gelu(self.inner(numbers))))
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


def read_bert(checkpoint: Checkpoint, folder: Path) -> tuple[Encoder, WordPieceReader] | None:
    """The network (float32, on the CPU) and the tokenizer of a checkpoint, where they are a BERT's and as usual.

    Args:
        folder: of the base configuration and the tokenizer.
    """
    if checkpoint.model_name != MODEL or checkpoint.tokenizer_name not in CLASSES:
        return None
    config = _config(folder)
    if config is None:
        return None
    reader = read_wordpiece(folder, config.vocab_size, config.max_position_embeddings)
    network = None if reader is None else _network(checkpoint, config)
    if reader is None or network is None:
        return None
    return Encoder(network, network.layers, config.hidden_size, config.pad_token_id or 0), reader


def _config(folder: Path) -> Config | None:
    try:
        said = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = {field.name for field in fields(Config)}
    if not isinstance(said, dict) or said.keys() - known - NOTHING_OF_SCORES:
        return None
    try:
        config = Config(**{name: value for name, value in said.items() if name in known})
        return config if config.usual else None
    except TypeError:  # a list where a word should be
        return None


def _network(checkpoint: Checkpoint, config: Config) -> Bert | None:
    # transformers saved this buffer with the weights until 4.31, so older checkpoints hold it.
    stored = {name: tensor for name, tensor in checkpoint.state_dict.items() if not name.endswith(".position_ids")}
    layers = sum(name.endswith(".attention.self.query.weight") for name in stored)
    if layers != config.num_hidden_layers or type(checkpoint.num_classes) is not int:
        return None
    with torch.device("meta"):  # no numbers are drawn that the checkpoint's take the place of
        network = Bert(config, checkpoint.num_classes)
    weights = {}
    for name, wanted in network.state_dict().items():
        parts = [stored.pop(theirs, None) for theirs in _stored_names(name)]
        # Of a product that is several in the checkpoint, each has its share of the rows.
        shape = (wanted.shape[0] // len(parts), *wanted.shape[1:])
        found = [part.float() for part in parts if part is not None and _is_usual(part, shape)]
        if len(found) < len(parts):
            return None
        weights[name] = torch.cat(found) if len(found) > 1 else found[0]
    if stored:
        return None
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval()


def _is_usual(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.is_floating_point()
    return plain and tuple(tensor.shape) == shape and not bool(tensor.isnan().any())


OUTER_NAMES = {
    "words": "bert.embeddings.word_embeddings",
    "positions": "bert.embeddings.position_embeddings",
    "kinds": "bert.embeddings.token_type_embeddings",
    "norm": "bert.embeddings.LayerNorm",
    "pooled": "bert.pooler.dense",
    "classified": "classifier",
}
LAYER_NAMES = {
    "attended": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "joined": ("attention.output.dense",),
    "norm": ("attention.output.LayerNorm",),
    "inner": ("intermediate.dense",),
    "outer": ("output.dense",),
    "last_norm": ("output.LayerNorm",),
}
"""Our names of the parts, and those of the checkpoints, which are transformers'."""


def _stored_names(name: str) -> list[str]:
    """What a weight of ours is called in a checkpoint; several where it is several weights there."""
    *place, part, kind = name.split(".")
    if not place:
        return [f"{OUTER_NAMES[part]}.{kind}"]
    return [f"bert.encoder.layer.{place[1]}.{theirs}.{kind}" for theirs in LAYER_NAMES[part]]
