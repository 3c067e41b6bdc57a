"""Reading a model through transformers: any architecture, any layout of its files that it knows.

A model's own code is never run. What runs the model is not known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from contract.errors import ModelUnavailable
from worker.engine.load.checkpoint import Checkpoint
from worker.model_files import config_and_tokenizer_files, isolated_folder

LOCAL = {"local_files_only": True, "trust_remote_code": False}
library: Any = transformers  # untyped


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer.

    Raises:
        ModelUnavailable: it cannot be read.
    """
    try:
        with isolated_folder(folder, config_and_tokenizer_files(folder)) as place:
            return library.AutoTokenizer.from_pretrained(str(place), **LOCAL)
    except ModelUnavailable:
        raise
    except Exception as error:  # transformers has no error of its own for what it cannot read
        raise _unreadable(folder, error) from error


def read_network(checkpoint: Checkpoint) -> Any:
    """The network, float32, on the CPU. PyTorch files are read with weights_only.

    Raises:
        ModelUnavailable: it cannot be read, or it is no whole causal language model.
    """
    library.utils.logging.disable_progress_bar()
    try:
        with isolated_folder(checkpoint.folder, checkpoint.names) as place:
            network, report = library.AutoModelForCausalLM.from_pretrained(
                str(place),
                config=library.AutoConfig.from_pretrained(str(place), **LOCAL),
                dtype=torch.float32,
                use_safetensors=checkpoint.safetensors,
                weights_only=True,
                output_loading_info=True,
                **LOCAL,
            )
    except Exception as error:
        raise _unreadable(checkpoint.folder, error) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelUnavailable(
            f"the weights in {checkpoint.folder} lack {len(missing)} tensors of a language model ({missing[0]}, …); "
            "use a complete causal language model"
        )
    return network.eval()


def _unreadable(folder: Path, error: Exception) -> ModelUnavailable:
    return ModelUnavailable(f"the model in {folder} cannot be loaded: {str(error).strip() or type(error).__name__}")
