"""The help of a command: every name whole, however narrow the terminal, with what each option takes and an example."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

NARROWEST, WIDEST = 40, 100
ARGUMENTS, OPTIONS = "Arguments", "Options"


def command_help(command: Any, path: str) -> str:
    """The help of one command.

    Args:
        path: how it is called, such as "inkmill run".
    """
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    arguments = [param for param in shown if not is_option(param)]
    usage = " ".join([f"Usage: {path}", *map(_argument, arguments), "[OPTIONS]"])
    panels = {ARGUMENTS: arguments} | _panels(param for param in shown if is_option(param))
    return "\n".join([*_wrapped(usage), "", *_paragraphs(command.help or ""), *_listed(panels)])


def group_help(group: Any, path: str) -> str:
    """The help of the program, or of a command with commands of its own: those, with the first sentence of each."""
    command = "[COMMAND …]" if group.invoke_without_command else "COMMAND …"
    lines = [f"Usage: {path} {command}", "", *_paragraphs(group.help or ""), "Commands"]
    names = [name for name, command in group.commands.items() if not command.hidden]
    column = max(map(len, names)) + 4
    for name in names:
        said = _wrapped(_first_sentence(group.commands[name].help or ""), indent=column)
        lines += [f"  {name}".ljust(column) + said[0].lstrip(), *said[1:]] if said else [f"  {name}"]
    lines += ["", *_listed({OPTIONS: list(group.params)})]
    program, *inner = path.split()
    asked = " ".join([program, "help", *inner, "COMMAND"])
    return "\n".join([*lines, *_paragraphs(f"'{asked}' says what a command takes. {group.epilog or ''}")])


def is_option(param: Any) -> bool:
    return bool(param.param_type_name == "option")


def spelled(param: Any) -> str:
    """A parameter as people type it: `--model`, `JOB`."""
    return str(max(param.opts, key=len)) if is_option(param) else _argument_name(param)


def whole_help(param: Any) -> str:
    """What a parameter is for, with its default, where its own words do not name one."""
    said = str(param.help or "").strip()
    default = param.default
    if default in (None, False, "", ()) or callable(default) or "default" in said.lower():
        return said
    return f"{said} [default: {default}]"


def _argument_name(param: Any) -> str:
    return str(param.metavar or param.name.upper()).strip("{}[]")


def _argument(param: Any) -> str:
    return _argument_name(param) if param.required else f"[{_argument_name(param)}]"


def _panels(options: Iterator[Any]) -> dict[str, list[Any]]:
    panels: dict[str, list[Any]] = {}
    for option in options:
        panels.setdefault(getattr(option, "rich_help_panel", None) or OPTIONS, []).append(option)
    return panels


def _listed(panels: dict[str, list[Any]]) -> Iterator[str]:
    for name, params in panels.items():
        if params:
            yield from _wrapped(name)
        for param in params:
            yield from _wrapped(_heading(param), indent=2)
            yield from _wrapped(whole_help(param), indent=6)
        if params:
            yield ""


def _heading(param: Any) -> str:
    """How it is typed: `-o, --out FILE`."""
    if not is_option(param):
        return _argument_name(param)
    names = ", ".join(sorted([*param.opts, *param.secondary_opts], key=lambda name: (name.startswith("--"), name)))
    return names if param.is_flag else f"{names} {param.metavar or 'TEXT'}"


def _first_sentence(text: str) -> str:
    return inspect.cleandoc(text).split("\n\n")[0].replace("\n", " ")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph:
            yield from [*_wrapped(" ".join(paragraph.split())), ""]


def _wrapped(text: str, indent: int = 0) -> Sequence[str]:
    width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
    margin = " " * indent
    return textwrap.wrap(
        text, width, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
