"""transformers' `generate` over left-padded batches: `python -m bench.peers.transformers`, an order on standard input.

A batch ends when its longest text does.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers

from bench.peers.protocol import Engine, Task, Workload, in_batches, run_task

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load(task: Task) -> Engine:
    torch.set_num_threads(task["threads"])
    model = transformers.AutoModelForCausalLM.from_pretrained(task["model"], dtype=DTYPES[task["dtype"]]).eval()
    pad = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = None  # no text ends before its length
    settings = task["sampling"] | {"do_sample": True, "pad_token_id": pad}
    size, by_length = task["options"]["batch"], task["options"]["by_length"]

    def write(workload: Workload) -> list[int]:
        indexes = list(range(len(workload["prompts"])))
        if by_length:
            indexes.sort(key=lambda index: workload["lengths"][index])
        written = [0] * len(indexes)
        for batch in in_batches(indexes, size):
            wanted = [workload["lengths"][index] for index in batch]
            longest = _generate(model, [workload["prompts"][index] for index in batch], max(wanted), settings)
            for index, length in zip(batch, wanted, strict=True):
                written[index] = min(length, longest)  # what is past its own length is thrown away
        return written

    return Engine(f"transformers {transformers.__version__} generate", write)


@torch.inference_mode()
def _generate(model: Any, prompts: list[list[int]], length: int, settings: dict[str, Any]) -> int:
    """Writes `length` tokens for each prompt; gives how many were written."""
    width = max(map(len, prompts))
    tokens = torch.full((len(prompts), width), settings["pad_token_id"])
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, -len(prompt) :] = torch.tensor(prompt)
        mask[row, -len(prompt) :] = 1
    found = model.generate(tokens, attention_mask=mask, max_new_tokens=length, **settings)  # [rows, width + length]
    return int(found.shape[1]) - width


if __name__ == "__main__":
    run_task(load)
