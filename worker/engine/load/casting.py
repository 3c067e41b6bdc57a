"""A network in the dtype that is served, but for what a lower precision would spoil."""

from __future__ import annotations

from typing import Any

import torch


def cast(network: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Move a network to a device and to a dtype, as transformers itself loads it in that dtype.

    Frequencies of rotary embeddings stay float32: rounded to bfloat16 they are wrong by a whole turn some thousand
    positions on. So does what an architecture says must.
    """
    spared = {name: tensor.clone() for name, tensor in _tensors(network) if _is_spared(network, name)}
    network.to(device, dtype)
    for name, tensor in spared.items():
        path, _, own = name.rpartition(".")
        module = network.get_submodule(path)
        tensor = tensor.to(device)
        setattr(module, own, torch.nn.Parameter(tensor, False) if own in module._parameters else tensor)


def _tensors(network: Any) -> list[tuple[str, torch.Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]


def _is_spared(network: Any, name: str) -> bool:
    strict = getattr(network, "_keep_in_fp32_modules_strict", None) or ()
    return name.endswith("inv_freq") or any(part in name.split(".") for part in strict)
