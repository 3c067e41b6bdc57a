"""The base model, ready to be trained: its network with the dropout that was asked for, or with an adapter to train.

Any architecture of causal language model that transformers has. How it is trained is not known here.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from contract.errors import ModelUnavailable, UsageError
from contract.model_kinds.model_folders import TOKENIZER_FILES
from contract.model_kinds.own_model import own_model_folder
from contract.tunings.base_files import tokenizer_digest
from contract.tunings.order import TuningOrder
from worker.engine.load.checkpoint import Checkpoint, find_checkpoint
from worker.engine.load.from_transformers import read_network, read_tokenizer
from worker.model_files import refuse_changes
from worker.remote_code import refuse_remote_kernels

LORA_ALPHA = 2  # times the rank
LEAST_POSITIONS = 1024  # of a model that names no limit


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What is trained, as it was found."""

    checkpoint: Checkpoint
    network: Any  # transformers', float32, on the CPU
    tokenizer: Any
    revision: str

    @property
    def positions(self) -> int:
        limit = getattr(self.network.config.get_text_config(), "max_position_embeddings", None)
        return int(limit or LEAST_POSITIONS)

    @property
    def vocabulary(self) -> int:
        return int(self.network.get_input_embeddings().num_embeddings)

    def tokenizer_digest(self) -> str | None:
        """As a corpus says it of the tokenizer that it was prepared with; None where that is no file of its own."""
        paths = [path for path in self.checkpoint.tokenizer_paths if path.name in TOKENIZER_FILES]
        return tokenizer_digest(paths[0].parent) if paths else None


def load_base(order: TuningOrder) -> BaseModel:
    """
    Raises:
        ModelUnavailable: it cannot be found, fetched, read or trusted, or is not the revision that was asked for.
    """
    checkpoint = find_checkpoint(order.base, own_model_folder(order.base))
    with refuse_changes(checkpoint.paths):
        if not checkpoint.gguf:
            refuse_remote_kernels((checkpoint.base or checkpoint).folder)
        revision = checkpoint.revision()
        if order.base_revision not in (None, revision):
            raise ModelUnavailable(
                f"the base model {order.base} has changed: its revision is {revision} now, and the tuning began with "
                f"{order.base_revision}; bring that one back, or start a new tuning"
            )
        return BaseModel(checkpoint, read_network(checkpoint), read_tokenizer(checkpoint), revision)


def set_dropout(network: Any, share: float) -> None:
    """The share of values that training zeroes, wherever an architecture has such a place; its configuration, which
    the finished model shall keep, stays as it is."""
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)


def check_packages(order: TuningOrder) -> None:
    """
    Raises:
        UsageError: an adapter is asked for, and peft is not installed.
    """
    if order.lora_rank and find_spec("peft") is None:
        raise UsageError("--lora needs the package peft where the worker is: pip install 'inkmill[tune]'")


def with_adapter(network: Any, rank: int) -> Any:
    """The network with an untrained adapter on every linear layer, which alone is trained."""
    library: Any = import_module("peft")  # untyped
    adapter = library.LoraConfig(
        r=rank, lora_alpha=LORA_ALPHA * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trained = library.get_peft_model(network, adapter)
    for config in trained.peft_config.values():
        config.base_model_name_or_path = None  # a temporary folder; and peft would ask the Hub about any other name
    return trained


def copy_companions(base: BaseModel, folder: Path) -> None:
    """The base's tokenizer, byte for byte where it has files of its own, and its settings for generating."""
    if base.checkpoint.gguf:
        base.tokenizer.save_pretrained(str(folder))
        return
    generation = (base.checkpoint.base or base.checkpoint).folder / "generation_config.json"
    for path in [*base.checkpoint.tokenizer_paths, *([generation] if generation.is_file() else [])]:
        if path.name not in ("config.json", "adapter_config.json"):
            shutil.copyfile(path, folder / path.name)
