"""Linear layers at the machine's own speed: products in bfloat16 where a device has it, weights packed for oneDNN.

What model a layer belongs to is not known here.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from worker.processor import has_bfloat16
from worker.safety.row_invariance import RowInvariant

X86 = ("x86_64", "AMD64")


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it in hardware, else float32."""
    # CUDA: Ampere; before it bfloat16 is emulated.
    cuda = device.type == "cuda"
    native = torch.cuda.get_device_capability(device) >= (8, 0) if cuda else has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def speed_up(module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Replaces every linear layer below `module`, which lies on `device` already.

    Only the products change their dtype. What lies between them, such as the residual stream and the norms, stays
    float32: that halves bfloat16's error and costs two in a hundred of the time.
    """
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.Linear):
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, _faster(layer, dtype, device))


def _faster(layer: nn.Linear, dtype: torch.dtype, device: torch.device) -> nn.Module:
    packs = device.type == "cpu" and platform.machine() in X86 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    product = Packed(layer, dtype) if packs else Plain(layer, dtype)
    if device.type != "cpu":
        return product
    return RowInvariant(product, (type(product).__name__, layer.bias is None, *layer.weight.shape), dtype)


class Plain(nn.Module):
    """torch's own product, in a dtype of its own."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Buffer(layer.weight.detach().to(dtype))  # [out, in]
        self.bias = None if layer.bias is None else nn.Buffer(layer.bias.detach().to(dtype))  # [out]

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[…, in] of any floating dtype to [..., out] of this layer's."""
        return F.linear(rows.to(self.weight.dtype), self.weight, self.bias)


class Packed(nn.Module):
    """oneDNN's product, with the weight in the layout that its kernel reads: on an x86 CPU twice the speed of torch's
    own product in float32, a tenth more in bfloat16."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        ops: Any = torch.ops.mkldnn
        # Opaque tensors, which cannot be copied or saved: so they are no parameters.
        self._weight = ops._reorder_linear_weight(layer.weight.detach().to(dtype).contiguous(), None)
        self._bias = None if layer.bias is None else layer.bias.detach().to(dtype)  # [out]
        self._dtype, self._product = dtype, ops._linear_pointwise

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[…, in] of any floating dtype to [..., out] of this layer's."""
        result: torch.Tensor = self._product(rows.to(self._dtype), self._weight, self._bias, "none", [], "")
        return result
