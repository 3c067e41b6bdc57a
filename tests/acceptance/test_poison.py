"""Prompts that take their process down: found by halving, given up alone, and nobody else is harmed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import Home

DEMO = ("--model", "demo", "--safety", "demo", "--seed", "5")

# Laid on PYTHONPATH, it makes the real engine and the real classifier die where a text says so.
POISON = """
import importlib.abc, importlib.util, os, signal, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in ("worker.engine.engine", "worker.safety.detoxify"):
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        sys.meta_path.insert(0, self)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            poison(name, module)
        spec.loader.exec_module = exec_module
        return spec

def poison(name, module):
    if name == "worker.engine.engine":
        step = module.SlotEngine.step
        def deadly(self):
            if any("POISON" in running.sequence.request.prompt for running in self._running.values()):
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self)
        module.SlotEngine.step = deadly
    else:
        score = module.Classifier.score
        def deadly(self, texts, after_batch=None):
            if any(text.startswith(os.environ.get("DEADLY_TEXT", "\\0")) for text in texts):
                os.kill(os.getpid(), signal.SIGKILL)
            return score(self, texts, after_batch)
        module.Classifier.score = deadly

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def poisoned(home: Home) -> Home:
    folder = home.folder / "poison"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(POISON)
    home.environment["PYTHONPATH"] = str(folder)
    home.environment["INKMILL_IDLE_SECONDS"] = "120"
    return home


def write(path: Path, prompts: list[str]) -> None:
    rows = [{"custom_id": f"r-{i}", "prompt": prompt, "max_new_tokens": 4} for i, prompt in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_a_prompt_that_kills_its_process_is_dead_alone_and_the_rest_is_done(poisoned: Home) -> None:
    prompts = ["At dawn"] * 8
    prompts[5] = "POISON"
    write(poisoned.folder / "p.jsonl", prompts)
    poisoned.inkmill("run", "p.jsonl", *DEMO, code=5)
    status = poisoned.status()
    assert status["prompts"] == {"total": 8, "done": 7, "dead": 1, "cancelled": 0}
    (reason,) = status["failures"]
    assert reason == "the worker process was killed by SIGKILL 3 times while it generated this prompt alone"
    (lost,) = (poisoned.folder / "p.jsonl.out.jsonl.errors.jsonl").read_text().splitlines()
    assert json.loads(lost)["custom_id"] == "r-5"


@pytest.mark.slow
def test_a_text_whose_scoring_kills_is_flagged_unscored_and_its_neighbours_are_scored(poisoned: Home) -> None:
    write(poisoned.folder / "p.jsonl", ["At dawn", "On market day", "Dear Aunt", "We reached"])
    poisoned.inkmill("run", "p.jsonl", *DEMO, "-o", "first.jsonl")
    victim = json.loads((poisoned.folder / "first.jsonl").read_text().splitlines()[2])["text"]
    poisoned.inkmill("stop")
    poisoned.environment["DEADLY_TEXT"] = victim
    poisoned.inkmill("run", "p.jsonl", *DEMO, "--again", "-o", "second.jsonl")
    status = poisoned.status(2)
    assert status["outputs"]["scored"] == 3
    assert status["outputs"]["unscored"] == 1
    rows = [json.loads(line) for line in (poisoned.folder / "second.jsonl").read_text().splitlines()]
    assert [row["flag_reasons"] for row in rows if row["text"] == victim] == [["unscored"]]
    assert status["prompts"]["done"] == 4
