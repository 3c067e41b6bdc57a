"""`python -m bench.gpu.main_job`: a job undisturbed, the same with a kill -9 of its worker, and `reproduce`.

As a user runs it, in a home of its own, with the demonstration model's classifier; on a GPU with random weights in
gpt2's shapes, since nothing can be fetched there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.gpu import parse_arguments, row
from bench.random_gpt2 import write_checkpoint
from common.addresses import sqlite_url
from db.jobs.status import snapshot, snapshots
from db.session.engine import open_database
from db.work.workers import list_workers

SAMPLES = 3
SEED = "11"
MIXED: list[dict[str, Any]] = [
    {}, {"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}, {"repetition_penalty": 1.2},
    {"presence_penalty": 0.5, "frequency_penalty": 0.3}, {"top_k": 0}, {"no_repeat_ngram_size": 3},
    {"temperature": 1.2, "top_k": 0, "top_p": 0.95}, {"min_new_tokens": 4}, {"do_sample": False, "n": 1},
]  # fmt: skip
STARTS = ("The captain", "At dawn", "On market day", "Dear Aunt", "To make the soup", "We reached", "")
POLL_SECONDS, TIMEOUT_SECONDS = 0.05, 100.0
Texts = dict[tuple[str, int], str]


def main() -> None:
    small = parse_arguments().small
    with tempfile.TemporaryDirectory(prefix="inkmill-gpu-") as folder:
        home = Home(Path(folder), small=small)
        try:
            held = home.judge(prompts=300 if small else 2000)
        finally:
            home.inkmill("stop", code=None)
    if not held:
        sys.exit("DOES NOT HOLD")


class Home:
    """A home folder, and the commands run in it."""

    def __init__(self, folder: Path, *, small: bool) -> None:
        self._folder, self._model, self._device = folder, "demo", "cpu" if small else "cuda"
        if not small:
            self._model = str(folder / "gpt2")
            write_checkpoint(Path(self._model))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INKMILL_")}
        self._environment = clean | {"INKMILL_HOME": str(folder), "HF_HUB_OFFLINE": "1"}

    def judge(self, prompts: int) -> bool:
        """Runs the job twice and compares. Returns whether all holds."""
        outputs = write_prompts(self._folder / "prompts.jsonl", prompts)
        first = self.run("undisturbed.jsonl")
        calm = self.status(1)
        what = f"the main job: {prompts:,} prompts, {outputs:,} texts, {self._device}"
        row(what, f"{calm['status']}, {calm['outputs']['scored']:,} scored, {calm['tokens_per_second']:,.0f} tokens/s")
        killed, second = self.run_and_kill("disturbed.jsonl", outputs // 3)
        now = self.status(2)
        found = f"{len(second):,} texts of {outputs:,}, {now['prompts']['dead']} prompts failed"
        row("the main job with a kill -9 of its worker", found if killed else "the job was over before it was killed")
        same = sum(second.get(key) == text for key, text in first.items())
        row("the main job with a kill -9: texts as undisturbed", f"{same:,} of {outputs:,}")
        again = json.loads(self.inkmill("reproduce", "--job", "2", "--sample", "100", "--json", code=None))
        row("`reproduce --sample 100` of it", f"{again['same']} of {again['total']} the same")
        complete = len(first) == len(second) == same == outputs and not now["prompts"]["dead"]
        return killed and complete and again["same"] == again["total"] > 0

    def run(self, out: str) -> Texts:
        """Runs the job to its end. Returns its texts."""
        self.inkmill(*self._words(out))
        return texts_of(self._folder / out)

    def run_and_kill(self, out: str, after: int) -> tuple[bool, Texts]:
        """The same, and kill -9 on the process with the model when so many texts are there. Returns whether it was."""
        command = [sys.executable, "-m", "inkmill", *self._words(out)]
        log = (self._folder / "run.log").open("wb")
        with log, subprocess.Popen(command, env=self._environment, stdout=log, stderr=log) as process:
            killed = self._kill_after(after, process)
            process.wait(TIMEOUT_SECONDS)
        if process.returncode:
            raise RuntimeError((self._folder / "run.log").read_text()[-2000:])
        return killed, texts_of(self._folder / out)

    def _kill_after(self, texts: int, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        with closing(open_database(sqlite_url(self._folder / "inkmill.db"))) as database:
            while len(snapshots(database)) < 2 or snapshot(database, 2).generated < texts:
                if process.poll() is not None or time.monotonic() > deadline:
                    return False
                time.sleep(POLL_SECONDS)
            victims = [worker.pid for worker in list_workers(database) if worker.alive]
            over = snapshot(database, 2).generated
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        print(f"killed {victims} with {over} texts generated")
        return bool(victims)

    def _words(self, out: str) -> list[str]:
        model = ["--model", self._model, "--safety", "demo", "--device", self._device]
        files = [str(self._folder / "prompts.jsonl"), "-o", str(self._folder / out)]
        return ["run", *files, *model, "--seed", SEED, "--again"]

    def status(self, job: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.inkmill("status", str(job), "--json"))
        return found

    def inkmill(self, *words: str, code: int | None = 0) -> str:
        """Runs a command to its end. Returns its output.

        Raises:
            RuntimeError: it ended with another status than `code`.
        """
        command = [sys.executable, "-m", "inkmill", *words]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True)
        if code is not None and done.returncode != code:
            raise RuntimeError(f"inkmill {words[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout


def write_prompts(path: Path, count: int) -> int:
    """A file of mixed settings. Returns how many texts it asks for."""
    texts = 0
    with path.open("w") as file:
        for number in range(count):
            line = {"custom_id": f"r-{number}", "prompt": STARTS[number % len(STARTS)], "n": SAMPLES}
            line |= {"max_new_tokens": (8, 16, 32, 64)[number % 4]} | MIXED[number % len(MIXED)]
            texts += int(str(line["n"]))
            file.write(json.dumps(line) + "\n")
    return texts


def texts_of(export: Path) -> Texts:
    """The text of each output of an export.

    Raises:
        RuntimeError: an output stands in it twice.
    """
    rows = [json.loads(line) for line in export.read_text().splitlines()]
    found = {(line["custom_id"], line["sample_index"]): line["text"] for line in rows}
    if len(found) < len(rows):
        raise RuntimeError(f"{len(rows) - len(found)} outputs stand twice in {export.name}")
    return found


if __name__ == "__main__":
    main()
