"""nanoGPT's ckpt.pt: a GPT-2 in PyTorch, by the names and in the shapes of its own.

Since 14 June 2023 nanoGPT computes GELU exactly (github.com/karpathy/nanoGPT/pull/274), and its checkpoints do not say
which of the two they were trained with; the exact one is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contract.errors import UsageError
from worker.importing.gpt2_files import GPT2Shape, check_counts, write_gpt2
from worker.importing.pytorch_file import read_file
from worker.importing.tokenizers import END_OF_TEXT, Tokenizer, given

FILE = "ckpt.pt"
COUNTS = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
OTHER_ARGUMENTS = ("bias", "dropout")
PREFIXES = ("_orig_mod.", "module.")
"""Put before names by torch.compile() and by training on several GPUs."""
GPT2_TOKENS, PADDED_TOKENS = 50_257, 50_304
PADDING = 64
"""nanoGPT rounds the size of a vocabulary up to a multiple of this."""
MASK = ".attn.bias"  # no weight, and in checkpoints of older versions
MATRICES = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
"""Stored as [out, in], where GPT-2's are [in, out]."""


class NanoGPT:
    """A model in such a file."""

    layout = "nanoGPT"

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UsageError: it is no checkpoint of nanoGPT, or damaged.
        """
        self._path, self.files = path, [path]
        checkpoint = read_file(path)
        if not isinstance(checkpoint, dict) or not {"model", "model_args"} <= checkpoint.keys():
            raise UsageError(
                f"{path}: is no checkpoint of nanoGPT, which holds model and model_args; save the model with "
                "save_pretrained(), and give that folder"
            )
        self._counts = _counts(checkpoint["model_args"], path)
        self._bias = bool(checkpoint["model_args"].get("bias", True))
        self._weights = _weights(checkpoint["model"], path)
        self._dataset = _dataset(checkpoint.get("config"))

    @staticmethod
    def is_in(names: Collection[str]) -> bool:
        return FILE in names

    def tokenizer(self, name: str | None) -> Tokenizer:
        """GPT-2's, or the one that is named.

        Raises:
            UsageError: it is character-level, or the tokenizer is not this model's.
            ModelUnavailable: the tokenizer cannot be fetched.
        """
        size = self._counts["vocab_size"]
        self._refuse_characters(size, name)
        tokenizer = given(name or "gpt2")
        if not len(tokenizer) <= size < len(tokenizer) + PADDING:
            raise UsageError(
                f"{self._path}: has a vocabulary of {size:,} tokens, and the tokenizer {tokenizer.place} has "
                f"{len(tokenizer):,}; give the one that it was trained with: --tokenizer FOLDER"
            )
        return tokenizer

    def write_model(self, folder: Path, tokenizer: Tokenizer) -> None:
        """Writes its configuration and weights; rows of the vocabulary that only pad it are cut.

        Raises:
            UsageError: its tensors are not nanoGPT's.
        """
        shape = GPT2Shape(
            vocabulary=len(tokenizer),
            positions=self._counts["block_size"],
            width=self._counts["n_embd"],
            heads=self._counts["n_head"],
            layers=self._counts["n_layer"],
            activation="gelu",
        )
        self._check_names({name for name, _ in shape.tensors()})
        self._check_output()
        biases = {name: size for name, size in shape.tensors() if name.endswith("bias")}

        def read(name: str) -> np.ndarray:
            if name not in self._weights:
                return np.zeros(biases[name], np.float32)
            tensor = self._weights[name].float()
            if name == "wte.weight":
                tensor = tensor[: shape.vocabulary]
            return (tensor.T if name.endswith(MATRICES) else tensor).numpy()

        write_gpt2(folder, shape, tokenizer.token(END_OF_TEXT), read, self._path)

    def _refuse_characters(self, size: int, name: str | None) -> None:
        known = f"vocab_size {size:,}" + (f", dataset {self._dataset}" if self._dataset else "")
        if self._dataset.endswith("char") or (self._path.parent / "meta.pkl").is_file():
            raise UsageError(
                f"{self._path}: is a character-level model ({known}), and those are not served here; train it anew on "
                "text in GPT-2's tokens, as nanoGPT's data/shakespeare prepares it"
            )
        if name is None and size not in (GPT2_TOKENS, PADDED_TOKENS):
            raise UsageError(
                f"{self._path}: does not have GPT-2's vocabulary ({known}): a character-level model is not served "
                "here, and any other needs the tokenizer that it was trained with: --tokenizer FOLDER"
            )

    def _check_names(self, wanted: set[str]) -> None:
        present = {name for name in self._weights if not name.endswith(MASK)}
        missing = {name for name in wanted - present if self._bias or not name.endswith("bias")}
        if missing:
            raise UsageError(
                f"{self._path}: lacks {len(missing)} tensors of nanoGPT ({min(missing)}, …); give a whole checkpoint"
            )
        if others := present - wanted - {"lm_head.weight"}:
            raise UsageError(
                f"{self._path}: holds tensors that nanoGPT does not have ({min(others)}, …): a changed nanoGPT wrote "
                "it, whose model is another than GPT-2"
            )

    def _check_output(self) -> None:
        """Its output layer is the embedding, which is then stored twice."""
        output, embedding = self._weights.get("lm_head.weight"), self._weights["wte.weight"]
        if output is not None and not torch.equal(output, embedding):
            raise UsageError(
                f"{self._path}: its lm_head.weight is not its wte.weight, as in nanoGPT: a changed nanoGPT wrote it, "
                "whose model is another than GPT-2"
            )


def _counts(arguments: object, path: Path) -> dict[str, int]:
    if not isinstance(arguments, Mapping):
        raise UsageError(f"{path}: its model_args are no table of settings; give a checkpoint of nanoGPT")
    if strange := sorted(map(str, arguments.keys() - {*COUNTS, *OTHER_ARGUMENTS})):
        raise UsageError(
            f"{path}: its model_args have {strange[0]}, which nanoGPT does not know: a changed nanoGPT wrote it, whose "
            "model is another than GPT-2"
        )
    return check_counts({name: arguments.get(name) for name in COUNTS}, path)


def _weights(model: object, path: Path) -> dict[str, torch.Tensor]:
    """The tensors by GPT-2's names, without `transformer.` before them."""
    if not isinstance(model, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in model.values()):
        raise UsageError(f"{path}: its model is no table of tensors; give a checkpoint of nanoGPT")
    return {_plain(str(name)): tensor for name, tensor in model.items()}


def _plain(name: str) -> str:
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    return name.removeprefix("transformer.")


def _dataset(config: Any) -> str:
    return str(config.get("dataset") or "") if isinstance(config, Mapping) else ""
