"""From a model's name to an engine that holds it, and the provenance of what it will write.

Weights come from safetensors, or from PyTorch files read with weights_only; a model's own code is never run.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from common.processes import cores
from contract.errors import ModelUnavailable, UsageError
from contract.model_kinds.paths import local_path
from contract.spec import DEVICE_CHOICES, DTYPE_CHOICES, DTYPES, Provenance
from worker.engine.decoder.survey import Unsupported
from worker.engine.engine import SlotEngine
from worker.engine.load.checkpoint import Checkpoint, find_checkpoint
from worker.engine.load.from_transformers import read_network, read_tokenizer
from worker.engine.load.numerics import numerics
from worker.engine.load.slot_model import slot_model
from worker.engine.tokenizer import Vocabulary, vocabulary_of
from worker.model_files import refuse_changes
from worker.processor import has_bfloat16, has_int8, instruction_set, kernel_variables, onednn_version, processor
from worker.remote_code import refuse_remote_kernels

if TYPE_CHECKING:
    from worker.engine.fallback.group_engine import GroupEngine
    from worker.engine.fallback.one_by_one import FallbackEngine

CPU_SLOTS = 128
CUDA_SLOTS = 256
CPU_SHARE = 4  # the cache takes at most a quarter of the memory that is available
CUDA_SHARE = 2


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine, and what is said of everything it writes."""

    engine: SlotEngine | GroupEngine | FallbackEngine
    why_fallback: str | None  # why the slot engine does not run this model; None where it does
    provenance: Provenance
    device: str  # as torch names it: "cpu", "cuda:0"


def load_engine(
    model: str,
    device: str = "auto",
    dtype: str = "auto",
    slots: int | None = None,
    threads: int | None = None,
    folder: Path | None = None,
) -> Loaded:
    """Load a model.

    Args:
        model: "demo", a Hub id (with @REV: that revision), a folder, or a GGUF file.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
        dtype: "auto" (bf16 on CUDA and on a CPU that has it in hardware, else fp32), "fp32", "bf16", or on a
            CPU "int8".
        slots: sequences decoded at once; None = 128 on a CPU and 256 on CUDA. Where texts are long there may be no room
            for the keys and values of so many.
        threads: torch's threads; None = the cores this process may use.
        folder: where the files of a model of one's own lie; None = the name says it.

    Raises:
        ModelUnavailable: it cannot be found, fetched, trusted or run here; the message says what to do.
        UsageError: slots or threads below 1.
    """
    _check_counts(slots, threads)
    place = select_device(device)
    kind = _dtype(dtype, place)
    torch.set_num_threads(threads or cores())
    checkpoint = find_checkpoint(model, folder)
    with refuse_changes(checkpoint.paths), ThreadPoolExecutor(1) as beside:  # half a second's work for half a gigabyte
        revision = beside.submit(checkpoint.revision)
        engine, why_fallback = _engine(checkpoint, place, kind, slots, revision.result)
        engine.warm()
        bits = numerics(engine)
    provenance = Provenance(
        model=_name(model),
        revision=revision.result(),
        engine=engine.name,
        torch=torch.__version__,
        device=f"cuda:{torch.cuda.get_device_name(place)}" if place.type == "cuda" else "cpu",
        isa=instruction_set() if place.type == "cpu" else "",
        dtype=kind,
        threads=torch.get_num_threads(),
        processor=processor(),
        onednn=onednn_version(),
        variables=kernel_variables(),
        numerics=bits,
    )
    return Loaded(engine, why_fallback, provenance, str(place) if place.type == "cpu" else f"cuda:{place.index or 0}")


def _name(model: str) -> str:
    """What was asked for; a folder or a file by its whole path."""
    return str(local_path(model) or model)


def _check_counts(slots: int | None, threads: int | None) -> None:
    for name, count in (("slots", slots), ("threads", threads)):
        if count is not None and count < 1:
            raise UsageError(f"{name} must be at least 1, not {count}")


def select_device(asked: str) -> torch.device:
    """
    Args:
        asked: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        ModelUnavailable: there is no such device.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cpu":
        return torch.device("cpu")
    name, _, number = asked.partition(":")
    if name != "cuda" or (":" in asked and not number.isdecimal()):
        raise ModelUnavailable(f"there is no device {asked!r}; use {DEVICE_CHOICES}")
    if not torch.cuda.is_available():
        raise ModelUnavailable(
            f"device {asked} was asked for, but torch {torch.__version__} finds no CUDA GPU; "
            "use --device cpu, or install the CUDA build of torch and the GPU's driver"
        )
    if int(number or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ModelUnavailable(f"there is no device {asked}; this machine's GPUs go from cuda:0 to cuda:{last}")
    return torch.device("cuda", int(number or 0))


def _dtype(asked: str, device: torch.device) -> str:
    if asked == "auto":
        return "bf16" if device.type == "cuda" or has_bfloat16() else "fp32"
    if asked not in DTYPES:
        raise ModelUnavailable(f"there is no dtype {asked!r}; use {DTYPE_CHOICES}")
    if asked == "int8" and (device.type == "cuda" or not has_int8()):
        where = "a GPU" if device.type == "cuda" else "this CPU, which lacks AVX-VNNI and AVX512-VNNI"
        raise ModelUnavailable(f"dtype int8 is not there on {where}; use auto, fp32 or bf16")
    return asked


def _engine(
    checkpoint: Checkpoint, device: torch.device, dtype: str, slots: int | None, revision: Callable[[], str]
) -> tuple[SlotEngine | GroupEngine | FallbackEngine, str | None]:
    """The slot engine; or another, which does not look at `slots`, and why."""
    if not checkpoint.gguf:  # beside which other models' files may lie
        refuse_remote_kernels((checkpoint.base or checkpoint).folder)
    tokenizer, network = read_tokenizer(checkpoint), read_network(checkpoint)
    vocabulary = vocabulary_of(tokenizer, network.config.get_text_config())
    try:
        model = slot_model(network, dtype, device, revision)
    except Unsupported as refusal:
        reason, spent = str(refusal), refusal.spent
    else:
        _give_memory_back()
        model.cache_shape = replace(model.cache_shape, memory=_cache_memory(device))
        return SlotEngine(model, vocabulary, slots or (CUDA_SLOTS if device.type == "cuda" else CPU_SLOTS)), None
    if spent:
        del network
        gc.collect()  # transformers' models are cycles; two of them may be too much
        network = read_network(checkpoint)
    return _without_slots(network, vocabulary, reason, device, dtype, revision)


def _without_slots(
    network: Any, vocabulary: Vocabulary, reason: str, device: torch.device, dtype: str, revision: Callable[[], str]
) -> tuple[GroupEngine | FallbackEngine, str]:
    """The engine that writes in groups, or the one that writes one by one; and why."""
    from worker.engine.fallback.group import PaddedModel
    from worker.engine.fallback.group_engine import GroupEngine
    from worker.engine.fallback.one_by_one import FallbackEngine
    from worker.engine.fallback.trial import why_one_by_one

    if dtype == "int8":
        raise ModelUnavailable(
            f"dtype int8 is for models that the slot engine runs, which this is not ({reason}); use fp32 or bf16"
        )
    refusal = why_one_by_one(network, device, torch.bfloat16 if dtype == "bf16" else torch.float32, revision)
    if refusal is None:
        return GroupEngine(PaddedModel(network), vocabulary), reason
    return FallbackEngine(network, vocabulary), f"{reason}, and not in groups, because {refusal}"


def _give_memory_back() -> None:
    """The allocator keeps what loading took and freed; the cache will need it."""
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def _cache_memory(device: torch.device) -> int:
    """How many bytes keys and values may take: their share of what is free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // CUDA_SHARE
    return int(psutil.virtual_memory().available) // CPU_SHARE
