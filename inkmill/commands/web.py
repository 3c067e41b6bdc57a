"""`web`: the page on which people review flagged texts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inkmill.commands import options as o

if TYPE_CHECKING:
    from review.server import Address

PORT = 8765


def register(app: typer.Typer) -> None:
    app.command()(web)


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
    from contract.errors import UsageError
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
    from contract.errors import UsageError

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
