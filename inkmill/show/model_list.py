"""Models of one's own as commands list and show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table

from common.times import iso
from common.wording import counted, on_one_line
from inkmill.own_models.catalogue import KnownModel
from inkmill.show.display import cell, table_of

COLUMNS = ("model", "base", "documents", "tokens", "perplexity", "before", "created", "place")
SHOWN_FILES = 20


def model_json(model: KnownModel) -> dict[str, Any]:
    """A model as `--json` prints it: docs/tuning.md promises its fields."""
    return {
        "name": model.name,
        "version": model.version,
        "model": str(model),
        "base": model.base,
        "base_revision": model.base_revision,
        "revision": model.revision,
        "perplexity_before": model.perplexity_before,
        "perplexity_after": model.perplexity_after,
        "created_at": iso(model.created_at),
        "corpus": [dict(file) for file in model.corpus],
        "source": model.source,
        "tuning": model.tuning,
        "folder": str(model.folder),
        "here": model.here,
        "recorded": model.recorded,
    }


def models_table(models: Sequence[KnownModel]) -> Table:
    """The models as a table."""
    table = table_of(*COLUMNS, shortened=("base", "place"), right=("documents", "tokens", "perplexity", "before"))
    for model in models:
        table.add_row(*map(cell, _cells(model)))
    return table


def _cells(model: KnownModel) -> Iterator[str]:
    yield str(model)
    yield model.base or model.source or ""
    yield from (_total(model, "documents"), _total(model, "tokens"))
    yield from (_figure(model.perplexity_after), _figure(model.perplexity_before))
    yield _day(model.created_at)
    yield "here" if model.here else str(model.folder)


def model_lines(model: KnownModel) -> Iterator[str]:
    """A model in full, for people."""
    yield f"{model}  {'in' if model.here else 'not on this machine, made in'} {on_one_line(str(model.folder))}"
    if not model.recorded:
        yield "  known from its folder alone; the database has no record of it"
    if model.base:
        yield f"  base        {on_one_line(model.base)}{_revision(model.base_revision)}"
    if model.source:
        yield f"  imported    from {on_one_line(model.source)}"
    if model.revision:
        yield f"  revision    {model.revision}"
    if model.perplexity_after is not None:
        before = "" if model.perplexity_before is None else f", {_figure(model.perplexity_before)} before"
        yield f"  perplexity  {_figure(model.perplexity_after)}{before}"
    yield from corpus_lines(model)
    if model.tuning:
        yield f"  tuning      {model.tuning}"
    if model.created_at:
        yield f"  created     {_day(model.created_at)}"
    if model.here and (model.folder / "README.md").is_file():
        yield f"  card        {on_one_line(str(model.folder / 'README.md'))}"


def corpus_lines(model: KnownModel) -> Iterator[str]:
    """What a model was taught: its files with their hashes."""
    for file in model.corpus[:SHOWN_FILES]:
        size = f"{_count(file, 'documents', 'document')}, {_count(file, 'tokens', 'token')}"
        yield f"  corpus      {on_one_line(str(file.get('name')))}: {size}, sha256 {file.get('sha256')}"
    if len(model.corpus) > SHOWN_FILES:
        yield f"              and {counted(len(model.corpus) - SHOWN_FILES, 'more file')}: --json names them all"


def _count(file: Any, name: str, noun: str) -> str:
    number = file.get(name)
    return counted(number, noun) if isinstance(number, int) else f"? {noun}s"


def _total(model: KnownModel, name: str) -> str:
    numbers = [number for file in model.corpus if isinstance(number := file.get(name), int)]
    return f"{sum(numbers):,}" if numbers else ""


def _revision(revision: str | None) -> str:
    return f", revision {revision}" if revision else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
