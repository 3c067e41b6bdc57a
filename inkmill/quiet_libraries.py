"""Keeps libraries from talking to the person at the terminal: their errors are raised, and told in our words."""

from __future__ import annotations

import logging
import os
import sys
import warnings

LIBRARIES = ("alembic", "celery", "filelock", "httpx", "huggingface_hub", "kombu", "numba", "tokenizers", "torch",
             "transformers", "urllib3")  # fmt: skip
ENVIRONMENT = {
    "HF_HUB_VERBOSITY": "critical",
    "TRANSFORMERS_VERBOSITY": "critical",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",  # of the processes that this one starts
}
"""What libraries ask the environment for, also those that set up their logging when they are imported."""


def quiet_libraries() -> None:
    """Silences them in this process and those that it starts. What the environment or `python -W` asks for stays."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def log_to_standard_error() -> None:
    """Where the engine's own log goes in a command that loads it: standard output is the command's."""
    import structlog

    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
