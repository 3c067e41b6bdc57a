"""The processor of this machine: what it can do, and what else decides which kernels compute on it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

CHOOSING = ("ATEN_", "DNNL_", "GOMP_", "KMP_", "MKL_", "OMP_", "ONEDNN_")
"""Environment variables that begin so may have another kernel chosen."""
CHOSEN_AMONG = ("avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_fp16", "amx_int8")
"""What torch's own name of an instruction set leaves open: oneDNN multiplies with these where they are there."""


def has_bfloat16() -> bool:
    """Whether it multiplies bfloat16 in hardware; elsewhere bfloat16 is slower than float32."""
    return _has("avx512_bf16", "amx_bf16")


def has_int8() -> bool:
    """Whether it sums products of 8-bit numbers in 32 bits; elsewhere sums may overflow 16 bits."""
    return _has("avx512_vnni", "avx_vnni")


def instruction_set() -> str:
    """What kernels may choose among, such as "AVX512 avx512_bf16 avx512_vnni"."""
    found = _capabilities()
    return " ".join([torch.backends.cpu.get_cpu_capability(), *(name for name in CHOSEN_AMONG if found.get(name))])


def processor() -> str:
    """Its name and kind as Linux tells them, such as "AMD EPYC (family 25, model 17, stepping 1)"; "" elsewhere."""
    said: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            said.setdefault(name.strip(), value.strip())
    kind = ", ".join(f"{part} {said[name]}" for name, part in _KIND if name in said)
    return said.get("model name", "") + (f" ({kind})" if kind else "")


_KIND = (("cpu family", "family"), ("model", "model"), ("stepping", "stepping"))


def onednn_version() -> str:
    """The version of oneDNN in this build of torch; "" where it has none."""
    found = re.search(r"MKL-DNN v([0-9.]+)", torch.__config__.show())
    return found[1] if found else ""


def choosing_variables() -> str:
    """The environment variables of this process that may have another kernel chosen, as "NAME=VALUE NAME=VALUE"."""
    return " ".join(f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(CHOOSING))


def _has(*features: str) -> bool:
    found = _capabilities()
    return any(found.get(feature) for feature in features)


def _capabilities() -> dict[str, Any]:
    library: Any = torch.cpu
    return library.get_capabilities() if hasattr(library, "get_capabilities") else {}
