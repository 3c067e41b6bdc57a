"""The `inkmill` command: its groups of commands and its exit status.

Heavy imports happen inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from common.processes import leave
from contract.errors import ExitCode, InkmillError, UsageError
from contract.model_kinds.paths import check_utf8
from inkmill.command_line import HELP, PROGRAM, CommandLine, Group
from inkmill.commands import (
    exporting,
    following,
    health,
    models,
    reporting,
    reproducing,
    reviewing,
    serving,
    steering,
    submitting,
    tuning,
)
from inkmill.quiet_libraries import quiet_libraries
from inkmill.show.help import command_help, group_help
from inkmill.show.terminal import accept_every_character, discard_the_rest, flush, messages, output

app = CommandLine(
    name=PROGRAM,
    cls=Group,
    context_settings=HELP,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Generate text in bulk, unattended: GPT-2 generation, Detoxify scores, all in one SQL database.",
    epilog="Exit status: 0 done, 1 failed, 2 usage error or bad input, 4 a service or model is unavailable, "
    "5 the job finished with dead prompts, 130 Ctrl-C (the work continues).",
)
for group in (
    submitting, tuning, following, steering, serving, models, exporting, reporting, reviewing, reproducing, health,
):  # fmt: skip
    group.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from inkmill.version import own_version

        output.print(f"inkmill {own_version()}", markup=False)
        raise typer.Exit


@app.command(name="help")
def show_help(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="The command to explain.")] = None,
) -> None:
    """Explain COMMAND, or list the commands."""
    assert context.parent is not None
    explained: Any = context.parent.command
    path = PROGRAM
    for word in command or ():
        if not isinstance(explained, Group):
            raise UsageError(f"help: {path!r} has no commands of its own, such as {word!r}. See '{PROGRAM} help'")
        explained, path = explained.find(word, typer.Context(explained, info_name=path)), f"{path} {word}"
    helps = group_help if isinstance(explained, Group) else command_help
    output.print(helps(explained, path), markup=False)


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits; user-facing errors come without a traceback."""
    quiet_libraries()
    gc.set_threshold(50_000)  # imports make hundreds of thousands of objects, hardly any of them garbage
    leave(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    accept_every_character()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(words)
        flush()
        return status
    except BrokenPipeError:  # whoever read the output has left, as `head` does
        return ExitCode.FAILED
    except OSError as error:
        with suppress(OSError):
            messages.print(f"inkmill: {error}", markup=False)
        return ExitCode.FAILED
    finally:
        discard_the_rest()


def _run(words: list[str]) -> int:
    try:
        for word in words:
            check_utf8(word)
        status: Any = app(args=words, standalone_mode=False, prog_name=PROGRAM)
        return status if isinstance(status, int) else ExitCode.DONE
    except InkmillError as error:
        messages.print(f"inkmill: {error}", markup=False)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except Exception as error:
        message = getattr(error, "format_message", None)  # of those errors of Typer's that have no words of ours
        if message is None:
            raise
        messages.print(f"inkmill: {message()}", markup=False)
        return int(getattr(error, "exit_code", ExitCode.USAGE))
