"""Reading a model through transformers: any architecture, any layout of its files that it knows.

A model's own code is never run. What runs the model is not known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from contract.errors import ModelUnavailable
from worker.engine.load.adapter import merged
from worker.engine.load.checkpoint import Checkpoint
from worker.engine.load.packages import require
from worker.model_files import isolated_folder

LOCAL = {"local_files_only": True, "trust_remote_code": False}
library: Any = transformers  # untyped


def read_tokenizer(checkpoint: Checkpoint) -> Any:
    """The tokenizer.

    Raises:
        ModelUnavailable: it cannot be read.
    """
    _check_packages(checkpoint)
    try:
        with isolated_folder(checkpoint.tokenizer_paths) as place:
            return library.AutoTokenizer.from_pretrained(str(place), **_from_gguf(checkpoint, place), **LOCAL)
    except Exception as error:  # transformers has no error of its own for what it cannot read
        raise _unreadable(checkpoint, error) from error


def read_network(checkpoint: Checkpoint) -> Any:
    """The network, float32, on the CPU, with its adapter merged. PyTorch files are read with weights_only.

    Raises:
        ModelUnavailable: it cannot be read, or it is no whole causal language model.
    """
    library.utils.logging.disable_progress_bar()
    network = _whole_network(checkpoint.base or checkpoint)
    return merged(network, checkpoint) if checkpoint.base else network


def _whole_network(checkpoint: Checkpoint) -> Any:
    _check_packages(checkpoint)
    try:
        with isolated_folder(checkpoint.paths) as place:
            from_gguf = _from_gguf(checkpoint, place)
            network, report = library.AutoModelForCausalLM.from_pretrained(
                str(place),
                config=library.AutoConfig.from_pretrained(str(place), **from_gguf, **LOCAL),
                dtype=torch.float32,
                use_safetensors=checkpoint.safetensors,
                weights_only=True,
                output_loading_info=True,
                **(from_gguf and from_gguf | _unpacked()),
                **LOCAL,
            )
    except Exception as error:
        raise _unreadable(checkpoint, error) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelUnavailable(
            f"the weights in {checkpoint.place} lack {len(missing)} tensors of a language model ({missing[0]}, …); "
            "use a complete causal language model"
        )
    if checkpoint.gguf is not None:
        network.config.quantization_config = None  # its weights are float32 now, whatever was noted of the file
    return network.eval()


def _unpacked() -> dict[str, Any]:
    """How transformers is told to unpack weights, which its older versions do in any case."""
    return {"quantization_config": library.GgufConfig(dequantize=True)} if hasattr(library, "GgufConfig") else {}


def _check_packages(checkpoint: Checkpoint) -> None:
    """Raises ModelUnavailable where what transformers reads a GGUF file with is not installed."""
    if checkpoint.gguf is not None:
        require(f"{checkpoint.place} is a GGUF file", "gguf")


def _from_gguf(checkpoint: Checkpoint, place: Path) -> dict[str, Any]:
    """How transformers is told of a GGUF file: by its whole path, for it looks for a name in the current folder."""
    return {} if checkpoint.gguf is None else {"gguf_file": str(place / checkpoint.gguf)}


def _unreadable(checkpoint: Checkpoint, error: Exception) -> ModelUnavailable:
    said = str(error).strip() or type(error).__name__
    return ModelUnavailable(f"the model in {checkpoint.place} cannot be loaded: {said}")
