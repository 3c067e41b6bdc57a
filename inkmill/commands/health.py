"""`doctor` and `try`: check the installation, and try out settings."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inkmill.commands import options as o


def register(app: typer.Typer) -> None:
    app.command(name="try")(o.gather_options("sampling", o.sampling_flags())(try_prompt))
    app.command()(doctor)


def try_prompt(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="The text to continue; '' = start from nothing. Without it, lines are read."
        ),
    ] = None,
    *,
    sampling: dict[str, Any],
    model: o.Model = None,
    revision: o.Revision = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    seed: o.Seed = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system",
            metavar="TEXT",
            help="The system message; PROMPT is then the user's. Needs a model with a chat template; for example "
            "--system 'Answer in one sentence.' [default: none]",
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Generate a few samples now, in this process, to try out settings. Nothing is stored.

    Without PROMPT it reads one line after the other and continues each; type :help there.
    """
    from contract.settings import settings
    from inkmill.commands.submitting import check_device
    from inkmill.trying.samples import TriedPrompt, samples, settings_of, show
    from producer.read.read_options import check_system

    config = settings()
    device, dtype = o.or_default(device, config.device), o.or_default(dtype, config.dtype)
    check_device(device, dtype)
    name = o.model_to_load(o.or_default(model, config.model), revision)
    if system is not None:
        check_system(system)
    if prompt is not None:
        show(samples(name, TriedPrompt(prompt, system), sampling, device=device, dtype=dtype, seed=seed), json=json)
        return
    settings_of(sampling)  # whether they go together
    _converse(name, sampling, device=device, dtype=dtype, seed=seed, system=system, json=json)


def _converse(
    model: str, sampling: dict[str, Any], *, device: str, dtype: str, seed: int | None, system: str | None, json: bool
) -> None:
    from contract.settings import settings
    from inkmill.show.display import ProgressLine
    from inkmill.show.terminal import messages
    from inkmill.trying.samples import SAMPLES
    from inkmill.trying.session import converse, start_session
    from inkmill.trying.typed_lines import TypedLines
    from inkmill.trying.writing import load_writer

    with ProgressLine() as progress:
        writer = load_writer(model, device, dtype, SAMPLES, progress.say)
    session = start_session(writer, sampling, seed=seed, system=system)
    lines = TypedLines(settings().home / "try.history")
    if lines.from_terminal:
        messages.print(f"{model} is loaded. Type a prompt, or :help; Ctrl-D ends.", markup=False)
    converse(writer, session, lines, json=json)


def doctor(json: o.Json = False) -> None:
    """Check what is installed, reachable and loadable, and show the command that fixes what is missing."""
    from inkmill.doctor import report, run_checks

    raise typer.Exit(report(run_checks(), json=json))
