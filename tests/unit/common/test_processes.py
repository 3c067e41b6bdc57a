"""How a process leaves the cores to others: its threads too, and where sessions are weighed first, its session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AUTOGROUP = Path("/proc/self/autogroup")
SAYS = f"""
import os, sys, threading
from common.processes import give_way
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


@pytest.mark.parametrize(("before", "said"), [(0, 5), (0, 0), (9, 5)])
def test_a_process_gives_way_with_its_threads_and_its_session(before: int, said: int) -> None:
    found = max(said, min(19, os.getpriority(os.PRIO_PROCESS, 0) + before))
    done = subprocess.run(
        [sys.executable, "-c", SAYS, str(before), str(said)],
        start_new_session=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(found)] * (3 if AUTOGROUP.exists() else 2)


def test_one_that_may_not_give_way_goes_on() -> None:
    program = """
import errno, os
from common.processes import Path, give_way
def refused(*_):
    raise PermissionError(errno.EPERM, "a filter of system calls says no")
os.setpriority = Path.write_text = refused
give_way(5)
"""
    subprocess.run([sys.executable, "-c", program], start_new_session=True, check=True)


def test_a_session_that_is_told_too_soon_after_another_is_told_again() -> None:
    program = """
import errno
from common.processes import Path, give_way
told = []
def write(path, text):
    told.append(text)
    if len(told) < 3:
        raise BlockingIOError(errno.EAGAIN, "too soon")
Path.write_text = write
give_way(19)
print(*told)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], start_new_session=True, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["19"] * 3
