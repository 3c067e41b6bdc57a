"""Models in llama.cpp's format, GGUF: weights, configuration and tokenizer in one file."""

from __future__ import annotations

import re
from pathlib import Path

from contract.model_kinds.unfetched import unfetched_problem

SUFFIX = ".gguf"
MAGIC = b"GGUF"
_PART = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.gguf", re.IGNORECASE)


def is_gguf(name: str | Path) -> bool:
    """Whether a name is that of such a file."""
    return str(name).lower().endswith(SUFFIX)


def gguf_problem(path: Path) -> str | None:
    """Why a file cannot be such a model, with the way out; None if it may be one."""
    if not path.is_file():
        return f"there is no file {path}; give a GGUF file, a model's folder, a Hub id such as gpt2, or --model demo"
    if _PART.search(path.name):
        return f"{path} is one of several parts, and a model is read from one file: llama-gguf-split --merge joins them"
    try:
        if problem := unfetched_problem(path):
            return problem
        with path.open("rb") as file:
            begun = file.read(len(MAGIC))
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}); give a file that you may read"
    return None if begun == MAGIC else f"{path}: is no GGUF file, whatever its name says; fetch it once more"
