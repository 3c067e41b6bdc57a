"""A model of the Hugging Face Hub as it is named: NAME or OWNER/NAME, and @REV where one of its revisions is meant.

The revision is part of the name, so that a job is served by workers that have just that one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./+-]{0,199}", re.ASCII)
"""Branches, tags and commits, as far as a cache can have a file of that name."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model, and which revision of it."""

    id: str
    revision: str | None = None  # a branch, a tag or a commit; None = the main branch

    @classmethod
    def parse(cls, name: str) -> HubModel:
        model, marked, revision = name.partition("@")
        return cls(model, revision if marked else None)

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"


def is_hub_id(name: str) -> bool:
    """Whether a name, without a revision, can be that of a model of the Hub."""
    return bool(_ID.fullmatch(name)) and "--" not in name and ".." not in name and not name.endswith((".", "-"))


def revision_problem(model: HubModel) -> str | None:
    """Why there can be no such revision of a model, with the way out; None if there may be."""
    if model.revision is None:
        return None
    if model.id == "demo":
        return f"{model}: demo comes with Inkmill and has one revision only; give --model demo"
    if not _REVISION.fullmatch(model.revision) or ".." in model.revision or model.revision.endswith(("/", ".lock")):
        return f"{model}: {model.revision!r} is no revision; give a branch, a tag or a commit of {model.id}"
    return None
