"""`decide`: review decisions from a terminal or a script, as on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import UsageError
from inkmill.commands import options as o

if TYPE_CHECKING:
    from db.review.decisions.decision_list import Instruction
    from db.review.decisions.rules import StoredDecision


def register(app: typer.Typer) -> None:
    app.command()(decide)


def decide(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="OUTPUT… approve|reject", help="Output numbers (`id` in an export), then the decision."),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason, for the record.")] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="JSON lines: id, decision (approve, reject, edit), reason, text; - = stdin.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="The reviewer's name. [default: the system user]")
    ] = None,
    json: o.Json = False,
) -> None:
    """Approve or reject outputs, or apply the decisions in FILE: all of them, or none if any is refused."""
    from contract.review import checked_name
    from db.review.decisions.decision_list import decide_list
    from inkmill.commands.web import system_reviewer
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database

    reviewer = checked_name(system_reviewer() if name is None else name)
    if file is not None and (words or reason is not None):
        raise UsageError("decide: --from FILE contains outputs, decisions and reasons; leave out the others")
    instructions = _from_file(file) if file is not None else _from_words(words or [], reason)
    if name is None:
        messages.print(f"note: deciding as {reviewer}, the system user; --as NAME names another reviewer", markup=False)
    _, database = settings_and_database()
    _print_result(decide_list(database, instructions, reviewer), reviewer, json)


def _from_file(file: str) -> list[Instruction]:
    from producer.decision_file import read_decisions

    return read_decisions(file)


def _from_words(words: list[str], reason: str | None) -> list[Instruction]:
    from db.review.decisions.decision_list import Instruction

    *outputs, decision = words or [""]
    if decision not in ("approve", "reject"):
        problem = f"not {decision!r}" if decision else "after the outputs"
        raise UsageError(f"decide: end with approve or reject, {problem}: inkmill decide 17 18 approve --reason 'why'")
    if not outputs:
        raise UsageError(f"decide: name the outputs to {decision}, by number: inkmill decide 17 18 {decision}")
    invalid = [word for word in outputs if not (word.isascii() and word.isdigit() and 0 < int(word) < 2**62)]
    if invalid:
        raise UsageError(f"decide: {invalid[0]!r} is not an output number; it is the `id` in an export")
    numbers = dict.fromkeys(map(int, outputs))
    return [
        Instruction(line=place, output_id=output, decision=decision, reason=reason)
        for place, output in enumerate(numbers, 1)
    ]


def _print_result(decisions: list[StoredDecision], reviewer: str, json: bool) -> None:
    from inkmill.show.display import print_json
    from inkmill.show.terminal import messages

    if json:
        print_json(
            [
                {"id": one.output_id, "decision": one.action.value, "from": one.from_state.value,
                 "to": one.to_state.value, "by": reviewer, "entry": one.id}
                for one in decisions
            ]
        )  # fmt: skip
        return
    counts: dict[str, int] = {}
    for one in decisions:
        counts[one.to_state.value] = counts.get(one.to_state.value, 0) + 1
    totals = ", ".join(f"{number:,} {state}" for state, number in counts.items())
    messages.print(f"{totals} by {reviewer}", markup=False)
    if any(one.request for one in decisions):
        messages.print("note: edited texts count as approved once a worker has scored them", markup=False)
