"""GPT-2 in transformers' layout, written from its tensors. Which program they come from is not known here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from transformers import GPT2Config

from contract.errors import UsageError

LAYER_SHAPES = {
    "ln_1.weight": (1,), "ln_1.bias": (1,),
    "attn.c_attn.weight": (1, 3), "attn.c_attn.bias": (3,), "attn.c_proj.weight": (1, 1), "attn.c_proj.bias": (1,),
    "ln_2.weight": (1,), "ln_2.bias": (1,),
    "mlp.c_fc.weight": (1, 4), "mlp.c_fc.bias": (4,), "mlp.c_proj.weight": (4, 1), "mlp.c_proj.bias": (1,),
}  # fmt: skip
"""A layer's tensors with their sizes in widths. A matrix is [in, out]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GPT2Shape:
    """What a configuration of GPT-2 says."""

    vocabulary: int
    positions: int
    width: int
    heads: int
    layers: int
    activation: str = "gelu_new"

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Each tensor's name, without `transformer.` before it, and its shape."""
        yield "wte.weight", (self.vocabulary, self.width)
        yield "wpe.weight", (self.positions, self.width)
        for layer in range(self.layers):
            for name, sizes in LAYER_SHAPES.items():
                yield f"h.{layer}.{name}", tuple(size * self.width for size in sizes)
        yield from (("ln_f.weight", (self.width,)), ("ln_f.bias", (self.width,)))


def check_counts(counts: Mapping[str, object], place: Path) -> dict[str, int]:
    """The numbers of a model's shape, each a whole one of at least 1.

    Raises:
        UsageError: one is something else.
    """
    known = {}
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise UsageError(f"{place}: {name} is {count!r}, and must be a whole number of at least 1")
        known[name] = count
    return known


def write_gpt2(folder: Path, shape: GPT2Shape, end: int | None, read: Callable[[str], np.ndarray], place: Path) -> None:
    """Writes the configuration and the weights.

    Args:
        end: the token that ends texts, if there is one.
        read: gives a tensor by its name.
        place: where the tensors come from, as a message calls it.

    Raises:
        UsageError: a tensor does not fit, or holds what is no number.
    """
    if shape.width % shape.heads:
        raise UsageError(f"{place}: {shape.width} numbers a token cannot be divided among {shape.heads} heads")
    weights = {f"transformer.{name}": _checked(read(name), name, size, place) for name, size in shape.tensors()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _config(shape, end).save_pretrained(folder)


def _checked(tensor: np.ndarray, name: str, shape: tuple[int, ...], place: Path) -> np.ndarray:
    if tensor.shape != shape:
        raise UsageError(
            f"{place}: the tensor {name} is {list(tensor.shape)}, and by the rest of the model it must be "
            f"{list(shape)}; these files do not belong together"
        )
    if not np.isfinite(tensor).all():
        raise UsageError(
            f"{place}: the tensor {name} holds values that are no numbers: its training went wrong; give an earlier "
            "checkpoint"
        )
    return np.ascontiguousarray(tensor, np.float32)


def _config(shape: GPT2Shape, end: int | None) -> GPT2Config:
    return GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.positions,
        n_embd=shape.width,
        n_head=shape.heads,
        n_layer=shape.layers,
        activation_function=shape.activation,
        bos_token_id=end,
        eos_token_id=end,
        dtype="float32",
        architectures=["GPT2LMHeadModel"],
    )
