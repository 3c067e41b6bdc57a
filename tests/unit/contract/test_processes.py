"""How a process leaves the cores to others: its threads too, and where sessions are weighed first, its session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

AUTOGROUP = Path("/proc/self/autogroup")
SAYS = f"""
import os, sys, threading
from contract.processes import give_way
os.nice(int(sys.argv[1]))
give_way(int(sys.argv[2]))
def say():
    print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
say()
thread = threading.Thread(target=say)
thread.start()
thread.join()
if os.path.exists("{AUTOGROUP}"):
    print(open("{AUTOGROUP}").read().split()[-1])
"""


@pytest.mark.parametrize(("before", "said", "found"), [(0, 5, "5"), (0, 0, "0"), (9, 5, "9")])
def test_a_process_gives_way_with_its_threads_and_its_session(before: int, said: int, found: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAYS, str(before), str(said)],
        start_new_session=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [found] * (3 if AUTOGROUP.exists() else 2)
