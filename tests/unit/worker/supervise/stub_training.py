"""A stand-in for the training process: the same folder, events and exit statuses, and no model.

Run as a program: `python stub_training.py FOLDER`. It makes the steps that FOLDER/order.json asks for, with a
checkpoint after every second one, and misbehaves as FOLDER/misbehave says, once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

SECONDS_A_STEP = 0.02


class Interrupted(Exception):
    pass


def say(kind: str, **values: object) -> None:
    print(json.dumps({"kind": kind, **values}), flush=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def misbehave(folder: Path, step: int) -> None:
    """`WHAT STEP`: what to do at which step; the file is removed first, so that it happens once."""
    file = folder / "misbehave"
    if not file.exists():
        return
    what, at = file.read_text().split()
    if step != int(at):
        return
    if what != "die-always":
        file.unlink()
    if what in ("die", "die-always"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(1000)
    if what == "fail":
        say("error", text="the corpus is not tokens", code="bad_corpus")
        sys.exit(1)
    if what == "full":
        say("error", text="no space left on device; make room, and start it again", code="disk_full")
        sys.exit(28)
    if what == "elsewhere":
        say("note", text="this tuning began on cuda, and goes on there only")
        sys.exit(69)
    if what == "unreachable":
        say("error", text="the base cannot be fetched", code="unreachable")
        sys.exit(4)


def save(folder: Path, step: int) -> None:
    part = folder / "checkpoints" / f".{step}"
    part.mkdir(parents=True, exist_ok=True)
    (part / "state.json").write_text(str(step))
    part.rename(folder / "checkpoints" / f"checkpoint-{step}")


def begun_elsewhere(folder: Path) -> bool:
    return (folder / "misbehave").exists() and (folder / "misbehave").read_text().startswith("elsewhere")


def last_step(folder: Path) -> int:
    return max((int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoints/c*")), default=0)


def train(folder: Path, steps: int) -> None:
    step = last_step(folder)
    say("settled", device="cuda" if begun_elsewhere(folder) else "cpu")
    say("note", text=f"goes on after step {step}" if step else "begins")
    try:
        while step < steps:
            misbehave(folder, step)
            say("alive")
            time.sleep(SECONDS_A_STEP)
            step += 1
            say("train", step=step, steps=steps, epoch=step / steps, loss=4 - step / 10, tokens_per_second=100.0,
                learning_rate=1e-4)  # fmt: skip
            if step % 2 == 0:
                say("validation", step=step, loss=4.5 - step / 10, perplexity=40.0)
                say("samples", step=step, samples=[{"prompt": "Once", "text": " upon a time"}])
                save(folder, step)
    except Interrupted:
        if not (folder / "checkpoints" / f"checkpoint-{step}").exists():
            save(folder, step)
        sys.exit(75)


def finish(folder: Path) -> None:
    order = json.loads((folder / "order.json").read_text())
    result = folder / "result"
    result.mkdir()
    (result / "config.json").write_text("{}")
    (result / "README.md").write_text("# A model\n")
    card = {"name": order["name"], "version": None, "base": order["base"], "base_revision": "abc", "corpus": [],
            "perplexity_before": 50.0, "perplexity_after": 40.0, "settings": {"seed": 1}}  # fmt: skip
    (result / "inkmill.json").write_text(json.dumps(card))
    (folder / "result.json").write_text("{}")


def main() -> None:
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, interrupt)
    print("a library says hello")  # which is no event
    if not (folder / "result.json").exists():
        train(folder, json.loads((folder / "order.json").read_text())["steps"])
        finish(folder)


if __name__ == "__main__":
    main()
