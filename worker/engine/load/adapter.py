"""Merging an adapter into its base model, through peft. How its weights are computed is not known here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from contract.errors import ModelUnavailable
from worker.engine.load.checkpoint import Checkpoint
from worker.engine.load.packages import require
from worker.model_files import isolated_folder


def merged(network: Any, checkpoint: Checkpoint) -> Any:
    """The base's network with the adapter's weights added to its own.

    Args:
        network: the base's; it is changed.

    Raises:
        ModelUnavailable: peft is missing, or the adapter does not fit, or it cannot be merged.
    """
    require(f"{checkpoint.folder} holds an adapter", "peft")
    library: Any = import_module("peft")  # untyped
    paths = [path for path in checkpoint.weight_paths + checkpoint.other_paths if path.name != "config.json"]
    try:
        with isolated_folder(paths) as place:
            model = library.PeftModel(network, library.PeftConfig.from_pretrained(str(place)))
            if not hasattr(model, "merge_and_unload"):
                raise ValueError(f"{model.active_peft_config.peft_type} cannot be merged into weights")
            # Onto a GPU that is there it would put the adapter alone.
            loaded = model.load_adapter(str(place), "default", torch_device="cpu")
        if strange := sorted((*loaded.missing_keys, *loaded.unexpected_keys)):
            raise ValueError(f"{len(strange)} weights of one have no place in the other ({strange[0]}, …)")
        return model.merge_and_unload(safe_merge=True).eval()
    except Exception as error:  # peft has no error of its own for what does not fit
        raise ModelUnavailable(f"the adapter in {checkpoint.folder} does not fit its base model: {error}") from error
