"""`worker` and `stop`: the processes that do the work."""

from __future__ import annotations

from typing import Annotated

import typer

from inkmill.commands import options as o

MAX_THREADS = 4096


def register(app: typer.Typer) -> None:
    app.command()(worker)
    app.command()(stop)


def worker(
    model: o.Model = None,
    revision: o.Revision = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    safety: Annotated[
        list[str] | None,
        typer.Option(
            "--safety",
            help="A classifier to serve; may be given more than once. [default: every built-in one, at first use]",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", metavar="N", min=0, max=MAX_THREADS, help="Compute threads. [default: the cores it may use]"
        ),
    ] = 0,
    only_tunings: Annotated[
        bool, typer.Option("--only-tunings", help="Train what 'inkmill tune' asks for; load no model to write with.")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept a Redis on another host without a password.")
    ] = False,
    in_stack: Annotated[bool, typer.Option("--in-stack", hidden=True)] = False,
) -> None:
    """Work on jobs with a loaded model until stopped (Ctrl-C or SIGTERM), and on tunings, one at a time, without it.

    Starts an embedded Redis unless INKMILL_REDIS_URL is set.
    """
    from importlib.util import find_spec

    from contract.errors import ModelUnavailable, UsageError
    from contract.model_kinds.model_folders import check_classifier
    from contract.names import safety_name
    from contract.settings import settings
    from inkmill.commands.submitting import check_device
    from inkmill.local.stack import Stack
    from worker.supervise.spawn import WorkerOptions
    from worker.supervise.supervisor import main

    config = settings()
    device, dtype = o.or_default(device, config.device), o.or_default(dtype, config.dtype)
    check_device(device, dtype)
    if only_tunings and (model or revision or safety):
        raise UsageError("--only-tunings: loads no model and no classifier; leave out --model, --revision and --safety")
    options = WorkerOptions(
        model="" if only_tunings else o.model_to_load(o.or_default(model, config.model), revision),
        device=device,
        dtype=dtype,
        threads=threads,
        safety=tuple(safety_name(name) for name in safety or ()),
    )
    for name in options.safety:
        check_classifier(name)
    if find_spec("torch") is None:
        raise ModelUnavailable("torch is not installed, and a worker needs it: pip install 'inkmill[worker]'")
    if not config.embedded:
        refuse_open_redis(config.redis_url, insecure=insecure)
    if not config.embedded or in_stack:
        raise typer.Exit(main(options, config, wait_for_database=in_stack))
    stack = Stack(config)
    stack.ensure_running(pin=True)
    # Repeatedly: the daemon that runs Redis may be killed.
    raise typer.Exit(main(options, config, ensure_services=lambda: stack.ensure_running(pin=True)))


def refuse_open_redis(url: str, *, insecure: bool) -> None:
    """Refuses a Redis that anyone on the network could write to.

    Raises:
        UsageError: anyone could; the message says what to do.
    """
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    from contract.errors import UsageError

    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local or parts.password or insecure or parts.scheme.startswith(("unix", "redis+socket")):
        return
    raise UsageError(
        f"INKMILL_REDIS_URL: the Redis on {host} has no password, so anyone who can reach it could send messages; "
        "set one (redis://:PASSWORD@HOST:6379/0), or use --insecure"
    )


def stop() -> None:
    """Stop the local stack now. Unfinished jobs continue when it is started again."""
    from contract.settings import settings
    from inkmill.local.stack import Stack
    from inkmill.show.terminal import messages

    config = settings()
    if Stack(config).stop():
        messages.print(f"stopped the stack in {config.home}", markup=False)
    else:
        messages.print(f"no stack is running in {config.home}", markup=False)
