"""What can be changed in a session of `inkmill try`, and the lines that change it. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.near_misses import did_you_mean
from contract.errors import SettingsError, UsageError
from contract.sampling import CANONICAL, parse_cell, read_settings, unknown_setting
from contract.spec import Messages, SamplingSettings
from inkmill.trying.samples import settings_of

HELP = """\
Type a prompt to have it continued; with a chat model, a message to have it answered.
  :set NAME VALUE   change a setting, for example :set temperature 0.7; :set alone shows them all
  :unset NAME       its default again; :unset alone: all of them
  :seed N           the same seed for every prompt; :seed alone draws one for each again
  :new              begin a new conversation (chat models)
  :help             this text
  ::TEXT            a prompt that begins with a colon
Ctrl-C ends a text, Ctrl-D the program."""


@dataclass(slots=True)
class Session:
    """What holds for the next prompt."""

    texts: int  # for a prompt, where the settings do not say
    sampling: dict[str, Any] = field(default_factory=dict)  # what was set, by canonical name
    seed: int | None = None  # None = drawn for each prompt
    turns: Messages = field(default_factory=list)  # of the conversation, the system message first if there is one

    @property
    def settings(self) -> SamplingSettings:
        return settings_of(self.sampling, self.texts)

    def change(self, line: str) -> str:
        """Carries out a line that begins with a colon. Returns what to tell.

        Raises:
            UsageError: there is no such command, or it was given what it does not take; nothing is changed then.
        """
        word, _, rest = line.removeprefix(":").strip().partition(" ")
        commands = self._commands()
        if word not in commands:
            hint = did_you_mean(word, commands, "type :help")
            raise UsageError(f":{word}: there is no such command; {hint}")
        return commands[word](rest.strip())

    def _commands(self) -> Mapping[str, Callable[[str], str]]:
        return {"set": self._set, "unset": self._unset, "seed": self._set_seed, "new": self._begin, "help": _help}

    def _set(self, rest: str) -> str:
        name, value = _name_and_value(rest)
        if not name:
            return "\n".join(f"{name} {_shown(value)}" for name, value in self._shown_settings().items())
        known = _canonical(name)
        if known == "seed":
            return self._set_seed(value)
        if not value:
            return f"{known} {_shown(self._shown_settings()[known])}"
        changed = self.sampling | _read(known, value)
        settings_of(changed, self.texts)  # whether they go together
        self.sampling = changed
        return f"{known} {_shown(self._shown_settings()[known])}"

    def _unset(self, rest: str) -> str:
        known = [_canonical(rest)] if rest else list(self.sampling)
        left = {name: value for name, value in self.sampling.items() if name not in known}
        settings_of(left, self.texts)
        self.sampling = left
        return "\n".join(f"{name} {_shown(self._shown_settings()[name])}" for name in known if name != "seed")

    def _set_seed(self, rest: str) -> str:
        if not rest:
            self.seed = None
            return "seed drawn for each prompt"
        self.seed = _read("seed", rest)["seed"]
        return f"seed {self.seed}" if self.seed is not None else "seed drawn for each prompt"

    def _begin(self, rest: str) -> str:
        self.turns = [turn for turn in self.turns if turn["role"] == "system"]
        return "a new conversation"

    def _shown_settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.settings.to_dict().items() if name != "seed"}


def _help(rest: str) -> str:
    return HELP


def _name_and_value(rest: str) -> tuple[str, str]:
    """Of "temperature 0.7", "temperature=0.7" or "--temperature 0.7"."""
    name, _, value = rest.replace("=", " ", 1).partition(" ") if "=" in rest.split(" ")[0] else rest.partition(" ")
    return name.removeprefix("--").replace("-", "_"), value.strip()


def _canonical(name: str) -> str:
    try:
        return CANONICAL[name]
    except KeyError:
        raise UsageError(str(unknown_setting(name, CANONICAL))) from None


def _read(name: str, value: str) -> dict[str, Any]:
    try:
        return read_settings({name: parse_cell(name, value)})
    except SettingsError as error:
        raise UsageError(str(error)) from None


def _shown(value: Any) -> str:
    return "none" if value in ([], {}) else f"{value:g}" if isinstance(value, float) else str(value)
