"""The two files that say of an imported model where it comes from: README.md for people, inkmill.json for programs.

Neither is part of the model's revision.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contract.model_kinds.own_model import DESCRIPTION
from worker.importing.importing import Imported

CARD = "README.md"


def write_card(folder: Path, imported: Imported, *, name: str, version: int, source: str) -> None:
    """Writes both into the model's folder."""
    record = _record(imported, name, version, source)
    (folder / DESCRIPTION).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (folder / CARD).write_text(_card(imported, name, version, source), "utf-8")


def import_settings(imported: Imported) -> dict[str, Any]:
    """How it was imported, as the database and inkmill.json keep it."""
    return {"layout": imported.layout, "tokenizer": imported.tokenizer, "files": list(map(asdict, imported.files))}


def _record(imported: Imported, name: str, version: int, source: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "base": None,
        "base_revision": None,
        "revision": imported.revision,
        "source": source,
        "corpus": [],
        "perplexity_before": None,
        "perplexity_after": None,
        "settings": import_settings(imported),
    }


def _card(imported: Imported, name: str, version: int, source: str) -> str:
    rows = "\n".join(f"| {_cell(file.name)} | {file.size:,} | `{file.sha256}` |" for file in imported.files)
    return f"""# {name}@{version}

Imported by Inkmill, and never trained there: what it was trained on is not known.

- from: {_cell(source)} ({imported.layout})
- tokenizer: {_cell(imported.tokenizer)}
- revision of the files here: `{imported.revision}`

The files that it was read from:

| file | bytes | SHA-256 |
|---|---|---|
{rows}
"""


def _cell(text: str) -> str:
    """A name as a table takes it."""
    return text.replace("|", "\\|").replace("\n", " ")
