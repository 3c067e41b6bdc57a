"""Our own engine as it is measured: `python -m bench.ours`, an order on standard input.

It is given text and gives text back, as in a job: unlike its peers it pays for both within the time measured.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.engines import CHECKPOINT
from bench.peers.protocol import Engine, Task, Workload, run_task
from bench.random_gpt2 import first_word, words
from contract.spec import SamplingSettings
from worker.engine.decoder.survey import Unsupported
from worker.engine.fallback import trial
from worker.engine.load import loading
from worker.engine.load.loading import load_engine
from worker.engine.sequence import Fault, Request


def load(task: Task) -> Engine:
    if kind := task["options"].get("fallback"):
        _refuse_slots(groups_too=kind == "one by one")
    loaded = load_engine(task["model"], device="cpu", dtype=task["dtype"], threads=task["threads"])
    engine, words_by_id, first = loaded.engine, words(), first_word()
    is_gpt2 = Path(task["model"]) == CHECKPOINT

    def request(index: int, prompt: list[int], length: int) -> Request:
        settings = _settings(length, task["sampling"])
        if is_gpt2:
            text = "".join(words_by_id[number - first] for number in prompt)
            return Request(index, text, settings, seed=index)
        # Another tokenizer does not make these ids of their text.
        return Request(index, "", settings, seed=index, encoded=replace(engine.read("a", settings), tokens=prompt))

    def write(workload: Workload) -> list[int]:
        prompts, lengths = workload["prompts"], workload["lengths"]
        engine.add([request(index, *pair) for index, pair in enumerate(zip(prompts, lengths, strict=True))])
        written = [0] * len(prompts)
        while engine.pending:
            for report in engine.step():
                if isinstance(report, Fault):
                    raise RuntimeError(f"prompt {report.key}: {report.reason}")
                if report.prompt_tokens != len(prompts[int(str(report.key))]):
                    raise RuntimeError(f"prompt {report.key} was read as {report.prompt_tokens} tokens")
                written[int(str(report.key))] = report.tokens
        return written

    return Engine(loaded.provenance.engine, write)


def _refuse_slots(*, groups_too: bool) -> None:
    """So that the other engines serve any model."""

    def refuse(*_: Any) -> Any:
        raise Unsupported("the bench asks for the fallback")

    loading.slot_model = refuse
    if groups_too:
        trial._verdict = lambda *_: "the bench asks for one text at a time"
        trial.kept_result = lambda _name, _kind, measure, _possible: measure()


def _settings(length: int, sampling: dict[str, Any]) -> SamplingSettings:
    # A minimum that is the maximum bans the end of text at every step: the engine's own way, and not a free one.
    return SamplingSettings(max_new_tokens=length, min_new_tokens=length, **sampling)


if __name__ == "__main__":
    run_task(load)
