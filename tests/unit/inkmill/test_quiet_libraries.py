"""Libraries say nothing to the person at the terminal, unless the environment asks for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import structlog

from inkmill.quiet_libraries import log_to_standard_error

TALK = """
import logging, subprocess, sys, warnings
from inkmill.quiet_libraries import quiet_libraries
quiet_libraries()
import huggingface_hub.utils.logging
warnings.warn("from a library", UserWarning)
warnings.warn("from a library", FutureWarning)
for name in ("transformers.modeling", "torch", "celery.worker", "kombu", "alembic.runtime", "numba.core", "huggingface_hub"):
    logging.getLogger(name).error("from a library")
huggingface_hub.utils.logging.get_logger("huggingface_hub.file_download").warning("from a library")
subprocess.run([sys.executable, "-c", "import warnings; warnings.warn('from a library')"])
"""  # noqa: E501


@pytest.mark.parametrize(("asked", "heard"), [({}, False), ({"PYTHONWARNINGS": "default"}, True)])
def test_libraries_say_nothing_unless_they_are_asked_to(asked: dict[str, str], heard: bool) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run([sys.executable, "-c", TALK], env=clean | asked, capture_output=True, text=True, check=True)
    assert ("from a library" in done.stderr) is heard and not done.stdout


def test_the_engines_log_leaves_standard_output_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_standard_error()
    try:
        structlog.get_logger().info("compiling")
    finally:
        structlog.reset_defaults()
    said = capsys.readouterr()
    assert "compiling" in said.err and not said.out
