"""OpenAI's layout of GPT-2, which gpt-2-simple keeps too: TensorFlow's tensors, with shape and vocabulary beside them.

A folder holds hparams.json, encoder.json, vocab.bpe, checkpoint, and model.ckpt.* or model-1000.*.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import UsageError
from worker.engine.load.packages import require
from worker.importing.gpt2_files import GPT2Shape, check_counts, write_gpt2
from worker.importing.tensorflow.tensor_bundle import TensorBundle
from worker.importing.tokenizers import END_OF_TEXT, Tokenizer, from_openai, given

HPARAMS, ENCODER, MERGES, CHECKPOINT = "hparams.json", "encoder.json", "vocab.bpe", "checkpoint"
INDEX = ".index"
COUNTS = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
_NAMED = re.compile(r'^\s*model_checkpoint_path\s*:\s*"(.*)"\s*$', re.MULTILINE)


class OpenAILayout:
    """A model in such a folder."""

    layout = "OpenAI's layout (TensorFlow)"

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            ModelUnavailable: what reads its checksums is not installed.
            UsageError: a file is missing or damaged.
        """
        require(f"{folder} holds a checkpoint of TensorFlow", "google_crc32c")
        self._folder = folder
        self._bundle = TensorBundle(_prefix(folder))
        self._hparams = check_counts(_hparams(folder / HPARAMS), folder / HPARAMS)
        kept = [folder / name for name in (CHECKPOINT, HPARAMS, ENCODER, MERGES)]
        self.files = [*self._bundle.paths, *(path for path in kept if path.is_file())]

    @staticmethod
    def is_in(names: Collection[str]) -> bool:
        """Whether a folder's files are a model in this layout, or part of one."""
        return HPARAMS in names or any(name.endswith(INDEX) for name in names)

    def tokenizer(self, name: str | None) -> Tokenizer:
        """Its own, or the one that is named.

        Raises:
            UsageError: it lacks one, or the tokenizer is not this model's.
        """
        tokenizer = given(name) if name else from_openai(self._folder / ENCODER, self._folder / MERGES)
        if len(tokenizer) != self._hparams["n_vocab"]:
            raise UsageError(
                f"{tokenizer.place} has {len(tokenizer):,} tokens, and {self._folder / HPARAMS} says n_vocab "
                f"{self._hparams['n_vocab']:,}; give the tokenizer that the model was trained with"
            )
        return tokenizer

    def write_model(self, folder: Path, tokenizer: Tokenizer) -> None:
        """Writes its configuration and weights.

        Raises:
            UsageError: its tensors are missing, damaged, or not GPT-2's.
        """
        counts = self._hparams
        shape = GPT2Shape(
            vocabulary=counts["n_vocab"],
            positions=counts["n_ctx"],
            width=counts["n_embd"],
            heads=counts["n_head"],
            layers=counts["n_layer"],
        )
        self._check_names({_tensorflow_name(name) for name, _ in shape.tensors()})
        write_gpt2(folder, shape, tokenizer.token(END_OF_TEXT), self._read, self._bundle.paths[0])

    def _read(self, name: str) -> np.ndarray:
        tensor = self._bundle.read(_tensorflow_name(name))
        return tensor[0] if tensor.ndim == 3 and tensor.shape[0] == 1 else tensor  # a convolution's matrices

    def _check_names(self, wanted: set[str]) -> None:
        present, index = self._bundle.names, self._bundle.paths[0]
        if missing := sorted(wanted - present):
            raise UsageError(
                f"{index}: lacks {len(missing)} tensors of the GPT-2 that {HPARAMS} describes ({missing[0]}, …); give "
                "a whole checkpoint, with the hparams.json that it was trained with"
            )
        if others := sorted(name for name in present - wanted if name.startswith("model/") and not _slot(name, wanted)):
            raise UsageError(
                f"{index}: holds tensors that no GPT-2 as {HPARAMS} describes it has ({others[0]}, …); give the "
                "hparams.json that it was trained with"
            )


def _slot(name: str, weights: set[str]) -> bool:
    """Whether it is what an optimizer keeps for a weight: model/wte/Adam for model/wte."""
    return any(name.startswith(f"{weight}/") for weight in weights)


def _tensorflow_name(name: str) -> str:
    """h.0.attn.c_attn.weight as TensorFlow's variable: model/h0/attn/c_attn/w."""
    *path, kind = name.replace("h.", "h", 1).split(".") if name.startswith("h.") else name.split(".")
    if path[-1] in ("wte", "wpe"):
        return f"model/{path[-1]}"
    letter = "b" if kind == "bias" else "g" if path[-1].startswith("ln_") else "w"
    return "/".join(["model", *path, letter])


def _hparams(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path}: is missing; copy it from the folder of the model that was fine-tuned") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error}); copy it once more") from None
    if not isinstance(read, dict):
        raise UsageError(f"{path}: is no JSON object; copy it once more")
    return {name: read.get(name) for name in COUNTS}


def _prefix(folder: Path) -> Path:
    """What the names of the checkpoint's files begin with: as `checkpoint` says, else the only one that is there."""
    indexes = sorted(path.name for path in folder.glob(f"*{INDEX}"))
    told = _told(folder / CHECKPOINT)
    if told is not None and f"{told}{INDEX}" not in indexes:
        raise UsageError(_not_there(folder, told, indexes))
    if told is None and len(indexes) != 1:
        which = f"it holds {', '.join(indexes)}" if indexes else f"no file in it ends in {INDEX}"
        raise UsageError(
            f"{folder}: lacks the file {CHECKPOINT}, which says which checkpoint is meant ({which}); copy that file "
            f'too, or write it: model_checkpoint_path: "model-1000"'
        )
    return folder / (told or indexes[0].removesuffix(INDEX))


def _told(path: Path) -> str | None:
    """The name in `checkpoint`, without the folder of the machine that wrote it."""
    try:
        named = _NAMED.search(path.read_text("utf-8", "replace"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); copy it once more") from None
    if named is None or not (base := re.split(r"[/\\]+", named[1])[-1]):
        raise UsageError(f"{path}: names no checkpoint; copy it once more, or remove it where there is only one")
    return base


def _not_there(folder: Path, told: str, indexes: list[str]) -> str:
    if (folder / told).is_file():
        return (
            f"{folder / told}: is in TensorFlow's first format, which is not read here; save it once more with "
            "TensorFlow 1.x, whose Saver writes .index and .data files"
        )
    here = f"; here is {', '.join(indexes)}: name that one in it" if indexes else ""
    return f"{folder / CHECKPOINT}: names {told}, and {told}{INDEX} is not beside it; copy that too{here}"
