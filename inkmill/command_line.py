"""Typer's commands with errors and help in words of ours: what was wrong, where, and what to type.

What the commands do is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from common.near_misses import did_you_mean
from contract.errors import ExitCode, UsageError
from inkmill.show.help import command_help, group_help, is_option, spelled
from inkmill.show.terminal import messages

PROGRAM = "inkmill"
HELP = {"help_option_names": ["-h", "--help"]}
FAR = 2**31
"""From here on a limit is nobody's concern."""


class CommandLine(typer.Typer):
    """The program: commands are made with help and errors of ours."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        ours: dict[str, Any] = {"cls": Command, "context_settings": HELP}
        return super().command(name, **(ours | options))

    def group(self, name: str, alone: Callable[..., None]) -> CommandLine:
        """A command with commands of its own, such as `models rm`.

        Args:
            alone: what it does without one of them; its help is the group's.
        """
        group = CommandLine(cls=Group, context_settings=HELP, invoke_without_command=True)
        group.callback()(alone)
        self.add_typer(group, name=name)
        return group


class Command(TyperCommand):
    """One command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        with _in_our_words(self, ctx, args):
            left = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            takes = " ".join(spelled(param) for param in self.params if not is_option(param)) or "no arguments"
            raise _misused(ctx, f"{left[0]!r} is one word too many: it takes {takes}; quote what contains spaces")
        return left

    def get_help(self, ctx: Any) -> str:
        return command_help(self, ctx.command_path)


class Group(TyperGroup):
    """The program's list of commands, or a command with commands of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        completing = ctx.resilient_parsing  # for a shell
        if not args and not self.invoke_without_command and not completing:
            messages.print(self.get_help(ctx), markup=False)
            raise typer.Exit(ExitCode.USAGE)
        with _in_our_words(self, ctx, args):
            return super().parse_args(ctx, args)

    def get_help(self, ctx: Any) -> str:
        return group_help(self, ctx.command_path)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing:
            self.find(args[0], ctx)
        return super().resolve_command(ctx, args)

    def find(self, name: str, ctx: Any) -> Any:
        """The command of that name.

        Args:
            ctx: of this group, whose commands a message names.

        Raises:
            UsageError: there is none.
        """
        if name not in self.commands:
            hint = did_you_mean(name, self.commands, f"there are {', '.join(self.commands)}")
            raise _misused(ctx, f"{name!r} is no command; {hint}")
        return self.commands[name]


@contextmanager
def _in_our_words(command: Any, ctx: Any, args: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        told = _TOLD.get(type(error).__name__)
        if told is None:
            raise
        raise _misused(ctx, told(command, error)) from None


def _misused(ctx: Any, problem: str) -> UsageError:
    end = "" if problem.endswith("?") else "."
    path = ctx.command_path.removeprefix(PROGRAM).strip()  # "models rm"; the program itself has none
    if not path:
        return UsageError(f"{problem}{end} See '{PROGRAM} help'")
    return UsageError(f"{path}: {problem}{end} See '{PROGRAM} help {path}'")


def _unknown_option(command: Any, error: Any) -> str:
    option = error.option_name
    options = [name for param in command.params if is_option(param) for name in (*param.opts, *param.secondary_opts)]
    otherwise = "write -- before what only looks like an option"
    if isinstance(command, Group):
        otherwise = "a command's options stand behind its name"
    return f"{option!r} is no option; {did_you_mean(option, options, otherwise)}"


def _missing(command: Any, error: Any) -> str:
    param = error.param
    return f"{spelled(param)} is missing: {_purpose(param)}"


def _wrong_value(command: Any, error: Any) -> str:
    param = error.param
    found = error.__cause__.errors()[0].get("input") if hasattr(error.__cause__, "errors") else None
    value = f" {found!r}" if isinstance(found, str | int | float) else ""
    taken = _span(param, far=len(str(found)) > len(str(FAR)))
    return f"{spelled(param)}{value}: must be {taken}: {_purpose(param)}"


def _without_value(command: Any, error: Any) -> str:
    param = next((param for param in command.params if error.option_name in (*param.opts, *param.secondary_opts)), None)
    if param is None or param.is_flag:
        return f"{error.option_name} takes no value: write it alone"
    return f"{error.option_name} needs a value: {_purpose(param)}"


_TOLD: dict[str, Callable[[Any, Any], str]] = {
    "NoSuchOption": _unknown_option,
    "MissingParameter": _missing,
    "BadParameter": _wrong_value,
    "BadOptionUsage": _without_value,
}
"""Typer's errors, whose classes are private, by name."""


def _purpose(param: Any) -> str:
    said = str(param.help or spelled(param)).partition(" [default")[0].strip().rstrip(".")
    return f"{said[0].lower()}{said[1:]}" if said[1:2].islower() else said


def _span(param: Any, *, far: bool) -> str:
    """The numbers that a parameter takes, in words.

    Args:
        far: name a limit too that nobody comes near by intent.
    """
    described = getattr(param, "type_descriptor", None)  # older versions of Typer keep it elsewhere
    limits = getattr(described, "parameter_info", param)
    kind = "a number" if getattr(described, "annotation", int) is float else "a whole number"
    low, high = getattr(limits, "min", None), getattr(limits, "max", None)
    if low is not None and high is not None and (far or high < FAR):
        return f"{kind} from {low} to {high}"
    return kind if low is None else f"{kind}, {low} or more"
