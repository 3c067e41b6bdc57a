"""`python -m bench.gpu.out_of_memory`: another process takes the device's memory between loading and the first step.

Then the slots are halved until they fit, no request is charged, and the texts are those of an engine with room. On a
CPU the refusals are made up.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bench.engine_cuda import ON_A_GPU, SHAPES, SMALL, random_engine, random_network, requests
from bench.gpu import parse_arguments, row
from bench.gpu.speed import TINY

SHARE = 0.3
"""How much of the whole cache fits beside the other process: a quarter of the slots, and not half of them."""
SPARE_BYTES = 2**29  # what a step takes beside the cache
MEMORY_HOG = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
kept = torch.empty(max(0, free - int(sys.argv[1])), dtype=torch.uint8, device="cuda")
print("ready", flush=True)
sys.stdin.read()
"""
TIMEOUT_SECONDS = 50.0


def main() -> None:
    small = parse_arguments().small
    scale = SMALL if small else replace(ON_A_GPU, new_tokens=64)
    network = random_network(*(TINY if small else SHAPES["gpt2"]), scale)
    all_requests = requests(2 * scale.slots, scale)
    expected, faults = _texts_and_faults(random_engine(network, scale), all_requests)
    _empty_cache(small)
    engine = random_engine(network, scale)
    _empty_cache(small)
    cache_bytes = scale.slots * engine.model.cache_shape.slot_bytes
    with _refusing(engine) if small else _memory_taken_by_another_process(int(SHARE * cache_bytes) + SPARE_BYTES):
        found, charged = _texts_and_faults(engine, all_requests)
    same = sum(found[key] == expected[key] for key in found.keys() & expected.keys())
    row("out of memory: slots, before and with another process in the way", f"{scale.slots}, {engine.slots}")
    row("out of memory: requests charged with it (0 must be)", f"{len(charged)} of {len(all_requests)}")
    row("out of memory: texts as with all the memory", f"{same} of {len(all_requests)}")
    if faults or charged or same < len(all_requests) or engine.slots >= scale.slots:
        print("\n".join([*faults, *charged][:5]))
        sys.exit("DOES NOT HOLD")


def _texts_and_faults(engine: Any, all_requests: list[Any]) -> tuple[dict[Any, str], list[str]]:
    """Each request's text, and why others have none."""
    from worker.engine.sequence import Completion

    texts, faults, deadline = {}, [], time.monotonic() + TIMEOUT_SECONDS
    engine.add(all_requests)
    while engine.pending:
        if time.monotonic() > deadline:
            return texts, [*faults, f"{engine.pending} requests were not done after {TIMEOUT_SECONDS:.0f} s"]
        time.sleep(engine.pause)
        for report in engine.step():
            if isinstance(report, Completion):
                texts[report.key] = report.text
            else:
                faults.append(report.reason)
    return texts, faults


def _empty_cache(small: bool) -> None:
    """What torch keeps of memory that was freed."""
    import gc

    import torch

    gc.collect()
    if not small:
        torch.cuda.empty_cache()


@contextmanager
def _memory_taken_by_another_process(left: int) -> Iterator[None]:
    """Another process holds all memory of the device but so many bytes."""
    command = [sys.executable, "-c", MEMORY_HOG, str(left)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the process that takes the memory did not start")
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()


@contextmanager
def _refusing(engine: Any) -> Iterator[None]:
    """The cache of more than a quarter of the slots does not fit."""
    import torch

    new_cache, max_slots = engine.model.new_cache, engine.slots // 4

    def scarce(slots: int) -> Any:
        if slots > max_slots:
            raise torch.OutOfMemoryError(f"no room for {slots} slots")
        return new_cache(slots)

    engine.model.new_cache = scarce
    yield


if __name__ == "__main__":
    main()
