"""What reviewers start: `web`, the page, and `decide`, the same decisions from a terminal or a script."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import UsageError
from inkmill.commands import options as o

if TYPE_CHECKING:
    from db.review.decisions.decision_list import Instruction
    from db.review.decisions.rules import StoredDecision
    from review.server import Address

PORT = 8765


def register(app: typer.Typer) -> None:
    app.command()(web)
    app.command()(decide)


def web(
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port to listen on; 0 = any free port.")
    ] = PORT,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="The address to listen on; any but a loopback address needs --token-file."
        ),
    ] = "127.0.0.1",
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="The reviewer's name. [default: the system user]")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Several reviewers, one line 'name token' each; read at the start."
        ),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option("--host-name", metavar="NAME", help="Another host name of the page; may be given more than once."),
    ] = None,
    behind_tls: Annotated[
        bool,
        typer.Option("--behind-tls", help="The page is behind a TLS proxy; cookies are sent over TLS only."),
    ] = False,
    audit_share: Annotated[
        float,
        typer.Option(
            "--audit-share", metavar="X", min=0, max=1, help="Share of the queue drawn at random from unflagged texts."
        ),
    ] = 0.0,
    json: o.Json = False,
) -> None:
    """Serve the review page until Ctrl-C. Prints its address, with a one-time token."""
    from inkmill.show.terminal import Log
    from inkmill.startup import settings_and_database
    from review.server import WebOptions, serve

    if not audit_share < 1:  # nan too
        raise UsageError("--audit-share: must be less than 1, or no flagged text would ever be shown")
    if name is not None and token_file is not None:
        raise UsageError("--as: with --token-file each reviewer has the name next to their token; leave out --as")
    logging.basicConfig(handlers=[Log()], level=logging.WARNING, format="%(levelname)s: %(message)s")
    config, database = settings_and_database()
    options = WebOptions(
        host=host,
        port=port,
        name=name or ("" if token_file else system_reviewer()),
        token_file=token_file,
        names=tuple(host_name or ()),
        audit_share=audit_share,
        behind_tls=behind_tls,
    )
    try:
        serve(database, config.home, options, lambda address: _print_address(address, json, behind_tls))
    finally:
        database.close()


def system_reviewer() -> str:
    """The system user who runs this, as a reviewer's name."""
    from common.system_user import system_user

    name = system_user()
    if name is None:
        raise UsageError("the system user has no name here; name the reviewer with --as NAME")
    return name


def _print_address(address: Address, json: bool, behind_tls: bool) -> None:
    from inkmill.show.display import print_json
    from inkmill.show.terminal import messages, output
    from review.security.hosts import is_loopback

    if json:
        print_json({
            "schema_version": 1, "url": address.url, "host": address.host, "port": address.port,
            "reviewers": list(address.reviewers),
        })  # fmt: skip
    else:
        output.print(address.url, markup=False)
        messages.print("open it in a browser; Ctrl-C stops it", markup=False)
    if not is_loopback(address.host) and not behind_tls:
        messages.print(
            "warning: texts and tokens are sent unencrypted; put a TLS proxy in front, or use an SSH tunnel",
            markup=False,
        )


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
