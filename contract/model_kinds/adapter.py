"""Adapters as peft saves them: a folder with what was trained, and the name of the model that it is merged into."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from contract.model_kinds.unfetched import unfetched_problem

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def is_adapter(present: Collection[str], whole: Collection[str]) -> bool:
    """Whether a folder's files are an adapter's: where a whole model's weights lie beside it, the model is meant.

    Args:
        whole: how a whole model's weights are called.
    """
    return CONFIG in present and not set(whole).intersection(present)


def base_model(folder: Path) -> str:
    """The model that an adapter belongs to: a folder's whole path, or a Hub id with its revision.

    A relative path is one from the adapter's own folder: where a command was started must not decide which model it is.

    Raises:
        ValueError: it names none; the message says what to do.
    """
    described = _configuration(folder)
    named = described.get("base_model_name_or_path")
    if not isinstance(named, str) or not named.strip():
        raise ValueError(
            f"{folder / CONFIG} does not say which model the adapter belongs to; write its folder or its Hub id there, "
            "as base_model_name_or_path"
        )
    path = folder / os.path.expanduser(named)
    if named.startswith((".", "~", os.sep)) or (os.sep in named and path.exists()):
        return str(path.resolve())
    if os.sep in named and Path(named).exists():
        raise ValueError(
            f"{folder / CONFIG} names {named} as the adapter's model: that is a folder here, but not beside the "
            "adapter; write its whole path there, as base_model_name_or_path"
        )
    revision = described.get("revision")
    return f"{named}@{revision}" if revision else named


def adapter_problem(folder: Path) -> str | None:
    """Why an adapter cannot be merged, as far as its own files show, with the way out; None if it may be.

    Raises:
        OSError: something in it cannot be read.
    """
    if not (folder / WEIGHTS).is_file():
        return f"the adapter in {folder} lacks {WEIGHTS}; save it there once more with peft's save_pretrained()"
    try:
        base_model(folder)
        described = _configuration(folder)
    except ValueError as error:
        return str(error)
    task = described.get("task_type")
    if task not in (None, "CAUSAL_LM"):
        return f"the adapter in {folder} is for {task!r}, not for writing texts (CAUSAL_LM); give another"
    if described.get("megatron_config"):
        return f"the adapter in {folder} names Megatron's own layers, which are not run here; give another"
    return unfetched_problem(folder / WEIGHTS)


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        described = json.loads((folder / CONFIG).read_bytes())
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict):
        raise ValueError(f"{folder / CONFIG} is no JSON object; fetch or save the adapter once more")
    return described
