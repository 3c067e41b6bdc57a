"""This machine's processor: what it can do, and what else decides which kernels run on it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

VARIABLE_PREFIXES = ("ATEN_", "DNNL_", "GOMP_", "KMP_", "MKL_", "OMP_", "ONEDNN_")
"""Environment variables with these prefixes may make a library choose another kernel."""
KERNEL_FEATURES = ("avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_fp16", "amx_int8")
"""What torch's name of an instruction set does not tell: oneDNN multiplies with these where the CPU has them."""


def has_bfloat16() -> bool:
    """Whether it multiplies bfloat16 in hardware; elsewhere bfloat16 is slower than float32."""
    return _has("avx512_bf16", "amx_bf16")


def has_int8() -> bool:
    """Whether it sums products of 8-bit numbers in 32 bits; elsewhere sums may overflow 16 bits."""
    return _has("avx512_vnni", "avx_vnni")


def instruction_set() -> str:
    """What kernels may choose among, such as "AVX512 avx512_bf16 avx512_vnni"."""
    capabilities = _capabilities()
    features = (name for name in KERNEL_FEATURES if capabilities.get(name))
    return " ".join([torch.backends.cpu.get_cpu_capability(), *features])


def processor() -> str:
    """Its name and kind as Linux tells them, such as "AMD EPYC (family 25, model 17, stepping 1)"; "" elsewhere."""
    fields: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    kind = ", ".join(f"{part} {fields[name]}" for name, part in _KIND if name in fields)
    return fields.get("model name", "") + (f" ({kind})" if kind else "")


_KIND = (("cpu family", "family"), ("model", "model"), ("stepping", "stepping"))


def onednn_version() -> str:
    """The version of oneDNN in this build of torch; "" where it has none."""
    match = re.search(r"MKL-DNN v([0-9.]+)", torch.__config__.show())
    return match[1] if match else ""


def kernel_variables() -> str:
    """The environment variables of this process that may change the choice of kernels, as "NAME=VALUE NAME=VALUE"."""
    return " ".join(
        f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(VARIABLE_PREFIXES)
    )


def _has(*features: str) -> bool:
    capabilities = _capabilities()
    return any(capabilities.get(feature) for feature in features)


def _capabilities() -> dict[str, Any]:
    library: Any = torch.cpu
    return library.get_capabilities() if hasattr(library, "get_capabilities") else {}
