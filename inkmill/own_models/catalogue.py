"""The models of one's own: those that SQL knows, and those whose folder alone is here, which tells of itself.

A folder that was copied here is served like any other, so it is listed like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import NoSuchModel, UsageError
from contract.model_kinds.own_model import OwnModel, description, find_own_model, own_models
from db.session.engine import Database
from db.tuning.models import StoredModel, list_models
from db.tuning.tunings import tuning_reference


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A version of a model, wherever it is known from."""

    name: str
    version: int
    base: str | None
    base_revision: str | None
    revision: str | None  # None = SQL does not know it
    perplexity_before: float | None
    perplexity_after: float | None
    corpus: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    source: str | None  # what it was imported from
    tuning: str | None  # t1, …
    created_at: float | None
    folder: Path
    here: bool  # its folder is in this machine's INKMILL_MODELS
    recorded: bool  # SQL knows it

    @property
    def own(self) -> OwnModel:
        return OwnModel(self.name, self.version)

    def __str__(self) -> str:
        return str(self.own)


def catalogue(database: Database) -> list[KnownModel]:
    """Every version, by name and version."""
    here = set(own_models())
    known = {OwnModel(stored.name, stored.version): stored for stored in list_models(database)}
    models = [recorded_model(stored, here=own in here) for own, stored in known.items()]
    models += [_unrecorded(own) for own in here - known.keys()]
    return sorted(models, key=lambda model: (model.name, model.version))


def find_in_catalogue(database: Database, text: str) -> KnownModel:
    """The model that NAME or NAME@N names: where no version is said, the one that --model NAME means here, or else the
    newest that SQL knows.

    Raises:
        NoSuchModel: there is none.
    """
    own = OwnModel.parse(text)
    with suppress(UsageError):  # of a version that is not here: SQL may know it
        own = own or find_own_model(text)
    name = own.name if own else text
    versions = [model for model in catalogue(database) if model.name == name]
    found = [model for model in versions if own is None or model.own == own]
    if not found:
        known = f"; there is {', '.join(map(str, versions))}" if versions else ""
        raise NoSuchModel(text, known)
    return found[-1]


def recorded_model(stored: StoredModel, *, here: bool) -> KnownModel:
    """A model as SQL knows it."""
    own = OwnModel(stored.name, stored.version)
    same = ("name", "version", "base", "base_revision", "revision", "perplexity_before", "perplexity_after", "corpus",
            "settings", "source", "created_at")  # fmt: skip
    return KnownModel(
        **{name: getattr(stored, name) for name in same} | {"revision": stored.revision or None},
        tuning=None if stored.tuning_id is None else tuning_reference(stored.tuning_id),
        folder=own.folder if here else Path(stored.folder),
        here=here,
        recorded=True,
    )


def _unrecorded(own: OwnModel) -> KnownModel:
    """What a folder says of itself; it may say nothing, or nonsense."""
    told = description(own.folder)
    corpus = told.get("corpus")
    settings = told.get("settings")
    return KnownModel(
        name=own.name,
        version=own.version,
        base=_text(told.get("base")),
        base_revision=_text(told.get("base_revision")),
        revision=_text(told.get("revision")),
        perplexity_before=_number(told.get("perplexity_before")),
        perplexity_after=_number(told.get("perplexity_after")),
        corpus=[file for file in corpus if isinstance(file, dict)] if isinstance(corpus, list) else (),
        settings=settings if isinstance(settings, dict) else {},
        source=_text(told.get("source")),
        tuning=None,
        created_at=own.folder.stat().st_mtime,
        folder=own.folder,
        here=True,
        recorded=False,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
