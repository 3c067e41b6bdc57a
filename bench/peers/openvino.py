"""OpenVINO GenAI's continuous batching: `python -m bench.peers.openvino`, an order on standard input.

It is given token ids and gives token ids back: no text is read or written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import openvino_genai

from bench.peers.protocol import Engine, Task, Workload, run_task

PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""What is computed in. Weights of int8 are for the folder to hold; the products are then the library's to choose."""


def load(task: Task) -> Engine:
    scheduler = openvino_genai.SchedulerConfig()
    for name, value in task["options"]["scheduler"].items():
        setattr(scheduler, name, value)
    properties = {
        "INFERENCE_NUM_THREADS": task["threads"],
        "INFERENCE_PRECISION_HINT": PRECISIONS[task["dtype"]],
        **task["options"]["properties"],
    }
    pipeline = openvino_genai.ContinuousBatchingPipeline(task["model"], scheduler, "CPU", properties)

    def write(workload: Workload) -> list[int]:
        prompts = [openvino.Tensor(np.array([prompt], dtype=np.int64)) for prompt in workload["prompts"]]
        settings = [_settings(length, task["sampling"]) for length in workload["lengths"]]
        return [len(result.m_generation_ids[0]) for result in pipeline.generate(prompts, settings)]

    return Engine(f"OpenVINO GenAI {openvino_genai.__version__}", write)


def _settings(length: int, sampling: dict[str, Any]) -> Any:
    settings = openvino_genai.GenerationConfig()
    for name, value in (sampling | {"do_sample": True, "ignore_eos": True, "max_new_tokens": length}).items():
        setattr(settings, name, value)
    return settings


if __name__ == "__main__":
    run_task(load)
