"""llama.cpp with a sequence for each text: `python -m bench.peers.llama_cpp`, an order on standard input.

A text that ends leaves its sequence to the next at once. Prompts are read one by one, since texts of different lengths
in one batch are cut into small parts. llama.cpp's own samplers draw; Python only hands tokens back and forth.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp

from bench.peers.protocol import Engine, Task, Workload, run_task

POSITIONS = 384  # of each sequence: the longest prompt and the longest text


class Row(NamedTuple):
    """One token that is to be computed."""

    sequence: int
    position: int
    token: int


class Text:
    """A text that is being written."""

    def __init__(self, index: int, prompt: list[int], length: int) -> None:
        self.index, self.computed, self.length = index, len(prompt), length
        self.written: list[int] = []

    @property
    def ended(self) -> bool:
        return len(self.written) == self.length


def load(task: Task) -> Engine:
    writer = Writer(task)

    def write(workload: Workload) -> list[int]:
        return writer.write(workload["prompts"], workload["lengths"])

    return Engine(f"llama.cpp by llama-cpp-python {llama_cpp.__version__}", write)


class Writer:
    """A model, and its sequences, each with samplers of its own."""

    def __init__(self, task: Task) -> None:
        self._sequences = task["options"]["sequences"]
        self._context = _context(_gguf(Path(task["model"])), self._sequences, task["threads"])
        self._batch = llama_cpp.llama_batch_init(max(POSITIONS, self._sequences), 0, 1)
        self._samplers = [_sampler(task["sampling"], seed) for seed in range(self._sequences)]
        self._threads = ThreadPoolExecutor(task["threads"])

    def write(self, prompts: list[list[int]], lengths: list[int]) -> list[int]:
        """Gives how many tokens were written for each."""
        waiting, running, written = list(range(len(prompts)))[::-1], dict[int, Text](), [0] * len(prompts)
        while waiting or running:
            for sequence in [free for free in range(self._sequences) if free not in running]:
                if waiting:
                    index = waiting.pop()
                    running[sequence] = Text(index, prompts[index], lengths[index])
                    self._read(sequence, prompts[index], running[sequence])
            self._step(running)
            for sequence, text in [(sequence, text) for sequence, text in running.items() if text.ended]:
                written[text.index] = len(text.written)
                del running[sequence]
        return written

    def _read(self, sequence: int, prompt: list[int], text: Text) -> None:
        """Computes a prompt, and draws the first token."""
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._context), sequence, -1, -1)
        rows = [Row(sequence, position, token) for position, token in enumerate(prompt)]
        self._compute(rows, wanted=rows[-1:])
        text.written.append(self._draw(sequence, len(rows) - 1))

    def _step(self, running: dict[int, Text]) -> None:
        """Computes the last token of each text, and draws the next."""
        texts = {sequence: text for sequence, text in running.items() if not text.ended}
        if not texts:
            return
        rows = [Row(sequence, text.computed, text.written[-1]) for sequence, text in texts.items()]
        self._compute(rows, wanted=rows)
        for text, token in zip(texts.values(), self._threads.map(self._draw, texts, range(len(rows))), strict=True):
            text.computed += 1
            text.written.append(token)

    def _compute(self, rows: Sequence[Row], wanted: Sequence[Row]) -> None:
        """
        Args:
            wanted: the last of the rows: those whose logits are asked for.

        Raises:
            RuntimeError: llama.cpp cannot.
        """
        batch, without = self._batch, len(rows) - len(wanted)
        batch.n_tokens = len(rows)
        for place, row in enumerate(rows):
            batch.token[place], batch.pos[place] = row.token, row.position
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, row.sequence
            batch.logits[place] = place >= without
        if code := llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode of {len(rows)} tokens gave {code}")
        llama_cpp.llama_get_logits_ith(self._context, without)  # waits; the samplers' threads find all in order then

    def _draw(self, sequence: int, place: int) -> int:
        return int(llama_cpp.llama_sampler_sample(self._samplers[sequence], self._context, place))


def _gguf(model: Path) -> Path:
    """The one GGUF file of a folder."""
    (file,) = model.glob("*.gguf")
    return file


def _context(file: Path, sequences: int, threads: int) -> Any:
    """
    Raises:
        RuntimeError: the file cannot be read.
    """
    llama_cpp.llama_log_set(_say_nothing, ctypes.c_void_p())
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
    if model is None:
        raise RuntimeError(f"llama.cpp cannot read {file}")
    settings = llama_cpp.llama_context_default_params()
    settings.n_seq_max, settings.n_ctx = sequences, sequences * POSITIONS
    settings.n_batch = settings.n_ubatch = max(POSITIONS, sequences)
    settings.n_threads = settings.n_threads_batch = threads
    settings.kv_unified = False  # else every text would pass over the keys of all
    return llama_cpp.llama_init_from_model(model, settings)


@llama_cpp.llama_log_callback
def _say_nothing(level: int, text: bytes, data: Any) -> None:
    """It would say some hundred lines."""


def _sampler(sampling: dict[str, Any], seed: int) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in _samplers(sampling, seed):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain


def _samplers(sampling: dict[str, Any], seed: int) -> Iterable[Any]:
    """In llama.cpp's own order: top_k, top_p, temperature."""
    yield llama_cpp.llama_sampler_init_top_k(sampling["top_k"])
    yield llama_cpp.llama_sampler_init_top_p(sampling["top_p"], 1)
    yield llama_cpp.llama_sampler_init_temp(sampling["temperature"])
    yield llama_cpp.llama_sampler_init_dist(seed)


if __name__ == "__main__":
    run_task(load)
