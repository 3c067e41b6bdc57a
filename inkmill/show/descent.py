"""The way of a text back to its corpus, as `lineage` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from common.times import iso
from common.wording import counted, on_one_line
from db.tuning.lineage import LearnedOutput, WrittenOutput
from inkmill.own_models.descent import Ancestor, Descent
from inkmill.show.model_list import corpus_lines, model_json

SHOWN_OUTPUTS = 20


def descent_json(descent: Descent) -> dict[str, Any]:
    """The way back as `--json` prints it: docs/tuning.md promises its fields."""
    written = descent.output
    first, *others = [_ancestor_json(ancestor) for ancestor in descent.ancestors] or [_of_others(written)]
    return {
        "schema_version": 1,
        "output": {name: getattr(written, name) for name in WrittenOutput.__dataclass_fields__}
        | {"created_at": iso(written.created_at)},
        **first,
        "ancestors": others,
    }


def _ancestor_json(ancestor: Ancestor) -> dict[str, Any]:
    model = ancestor.model
    return {
        "model": model_json(model),
        "base": None if model.base is None else {"model": model.base, "revision": model.base_revision},
        "corpus": [dict(file) for file in model.corpus],
        "outputs": [_learned_json(learned) for learned in ancestor.learned],
    }


def _of_others(written: WrittenOutput) -> dict[str, Any]:
    """What is known where the model is not one's own."""
    model = {"name": written.model, "version": None, "model": written.model, "revision": written.revision}
    return {"model": model, "base": None, "corpus": [], "outputs": []}


def _learned_json(learned: LearnedOutput) -> dict[str, Any]:
    decision = learned.decision
    return {
        "output": learned.id,
        "job": learned.job,
        "custom_id": learned.custom_id,
        "model": learned.model,
        "revision": learned.revision,
        "decision": None
        if decision is None
        else {"id": decision.id, "decision": decision.action, "by": decision.by, "at": iso(decision.at),
              "reason": decision.reason},
    }  # fmt: skip


def descent_lines(descent: Descent) -> Iterator[str]:
    """The way back for people."""
    written = descent.output
    row = f"row {on_one_line(written.custom_id)}" if written.custom_id else f"position {written.position}"
    yield f"output {written.id}  job {written.job}, {row}, sample {written.sample_index}"
    yield f"  model       {on_one_line(written.model)}, revision {written.revision}"
    if not descent.ancestors:
        yield "  which is no model of your own that is known here: nothing is known of its corpus"
    for place, ancestor in enumerate(descent.ancestors):
        if place:
            yield f"{ancestor.model}, the base of {descent.ancestors[place - 1].model}"
        yield from _ancestor_lines(ancestor, written if place == 0 else None)


def _ancestor_lines(ancestor: Ancestor, written: WrittenOutput | None) -> Iterator[str]:
    model = ancestor.model
    if written and model.revision not in (None, written.revision):
        yield f"  note        the files of {model} have changed: recorded is revision {model.revision}"
    if not model.here:
        yield "  note        its folder is not on this machine any more"
    if model.base:
        yield f"  base        {on_one_line(model.base)}" + (
            f", revision {model.base_revision}" if model.base_revision else ""
        )
    if model.source:
        yield f"  imported    from {on_one_line(model.source)}"
    yield from corpus_lines(model)
    if ancestor.learned_total:
        yield f"  taught      {counted(ancestor.learned_total, 'stored output')}"
    for learned in ancestor.learned[:SHOWN_OUTPUTS]:
        yield f"    output {learned.id} of job {learned.job}  by {on_one_line(learned.model)}, {_decided(learned)}"
    if ancestor.learned_total > SHOWN_OUTPUTS:
        yield f"    and {ancestor.learned_total - SHOWN_OUTPUTS:,} more: --json names them all"


_DONE = {"approve": "approved", "reject": "rejected", "edit": "edited"}


def _decided(learned: LearnedOutput) -> str:
    decision = learned.decision
    if decision is None:
        return "undecided"
    day = datetime.fromtimestamp(decision.at).strftime("%Y-%m-%d %H:%M")
    return f"{_DONE.get(decision.action, decision.action)} by {on_one_line(decision.by)}, {day}"
