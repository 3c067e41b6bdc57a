"""The training process: `python -m worker.tuning.main FOLDER`.

Does what FOLDER/order.json asks for with FOLDER/corpus, says on standard output how it goes (`events`), and leaves the
model in FOLDER/result. Started again, it goes on. Its exit statuses are those of `contract.tunings.order.TuningExit`.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from contract.errors import InkmillError, ModelUnavailable
from contract.tunings.order import TuningExit
from worker.tuning.checkpoints import disk_is_full
from worker.tuning.process.events import Events
from worker.tuning.process.folder import TuningFolder, read_json
from worker.tuning.process.interruption import Interrupted, Interruption
from worker.tuning.process.other_device import OtherDevice


def main() -> int:
    folder = TuningFolder(Path(sys.argv[1]).absolute())
    events, interruption = Events.to_standard_output(), Interruption()
    try:
        interruption.listen()
        events.loading()
        _set_environment(folder)
        from worker.tuning.training import train  # loads torch, which reads the environment

        train(folder, events, interruption)
    except Interrupted:
        return TuningExit.INTERRUPTED
    except OtherDevice as reason:
        events.note(str(reason))
        return TuningExit.ELSEWHERE
    except BaseException as error:
        return _failed(error, folder, events)
    return TuningExit.DONE


def _set_environment(folder: TuningFolder) -> None:
    """What libraries read when they are loaded: what they would tell a terminal, and the one GPU that they may see."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Threads that spin while they wait would keep each other from the cores where others work as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    device = str(read_json(folder.order).get("device", "auto"))
    number = int(device.partition(":")[2]) if device.partition(":")[2].isdecimal() else 0
    # The Trainer would use all of them.
    os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpu(os.environ.get("CUDA_VISIBLE_DEVICES"), number)


def visible_gpu(visible: str | None, number: int) -> str:
    """The one GPU that the process may see, as CUDA_VISIBLE_DEVICES names it; "" = none.

    Args:
        visible: that variable as it is: "" hides every GPU, and is to go on doing so; None = all are there.
        number: which of those that are visible.
    """
    if visible is None:
        return str(number)
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return names[number] if number < len(names) else ""


def _failed(error: BaseException, folder: TuningFolder, events: Events) -> int:
    """Says why, as an event; a traceback goes to standard error where the error is nobody's mistake."""
    if disk_is_full(error, folder.path):
        text = f"no space left on the disk with {folder.path}: training is paused after its last checkpoint"
        events.say("error", text=f"{text}; make room, and start it again", code="disk_full")
        return TuningExit.DISK_FULL
    code = "unreachable" if isinstance(error, ModelUnavailable) else _code(error)
    if not isinstance(error, InkmillError):
        traceback.print_exception(error)
    events.say("error", text=_told(error, code), code=code)
    return TuningExit.UNREACHABLE if code == "unreachable" else TuningExit.FAILED


def _code(error: BaseException) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return "memory"
    return {"Diverged": "diverged"}.get(type(error).__name__, "usage" if isinstance(error, InkmillError) else "failed")


def _told(error: BaseException, code: str) -> str:
    if code == "memory":
        return (
            "there is not enough memory for a micro-batch; start again with --gradient-checkpointing, a smaller "
            f"--block, or --lora 16 ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        )
    if code == "failed":
        return f"{type(error).__name__}: {error}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
