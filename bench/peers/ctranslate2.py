"""CTranslate2's generator: `python -m bench.peers.ctranslate2`, an order on standard input.

Its workers take one batch each. Texts of different lengths end, and leave their batch, through a callback.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2

from bench.peers.protocol import Engine, Task, Workload, in_batches, run_task


def load(task: Task) -> Engine:
    options, sampling = task["options"], task["sampling"]
    workers = options["workers"]
    generator = ctranslate2.Generator(
        task["model"], device="cpu", inter_threads=workers, intra_threads=task["threads"] // workers
    )
    tokens = json.loads((Path(task["model"]) / "vocabulary.json").read_text(encoding="utf-8"))
    settings = {
        "asynchronous": True,
        "include_prompt_in_result": False,
        "end_token": [],  # no text ends before its length
        "sampling_temperature": sampling["temperature"],
        "sampling_topk": sampling["top_k"],
        "sampling_topp": sampling["top_p"],
    }

    def write(workload: Workload) -> list[int]:
        prompts = [[tokens[number] for number in prompt] for prompt in workload["prompts"]]
        written = [0] * len(prompts)
        # It takes a batch's prompts token by token past the shortest one: those of a batch should be alike.
        longest_first = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        running = []
        for batch in in_batches(longest_first, options["batch"]):
            lengths = [workload["lengths"][index] for index in batch]
            results = generator.generate_batch([prompts[index] for index in batch], **settings, **_end(lengths))
            running.append((batch, results))
        for batch, results in running:
            for index, result in zip(batch, results, strict=True):
                written[index] = len(result.result().sequences_ids[0])
        return written

    return Engine(f"CTranslate2 {ctranslate2.__version__}", write)


def _end(lengths: list[int]) -> dict[str, Any]:
    """The arguments that end each text of a batch at its length."""
    ending: dict[str, Any] = {"min_length": max(lengths), "max_length": max(lengths)}
    if len(set(lengths)) > 1:
        ending["callback"] = _countdown(lengths)
    return ending


def _countdown(lengths: list[int]) -> Callable[[Any], bool]:
    remaining = list(lengths)

    def ended(step: Any) -> bool:
        row = int(step.batch_id)
        remaining[row] -= 1
        return remaining[row] == 0

    return ended


if __name__ == "__main__":
    run_task(load)
