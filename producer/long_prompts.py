"""How many of a file's prompts are too long for the model, told at submit where its tokenizer is on this machine.

Only counts: what becomes of such a prompt is for the worker, which has the model. No network is asked, and no torch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from contract.model_kinds import adapter
from contract.model_kinds.hub_model import HubModel
from contract.model_kinds.model_folders import TOKENIZER_FILES, WEIGHTS
from contract.model_kinds.own_model import own_model_folder
from contract.model_kinds.paths import local_path
from contract.spec import PromptRow, SamplingSettings, room_for_text

SECONDS = 3.0
"""Tokenising takes a second a megabyte; after so long in all, the rest of the file is not looked at."""
BATCH_BYTES = 1 << 20
SHOWN_LINES = 5
TOKEN_CHARACTERS = 64  # hardly a text has more characters for each token
ADDED_TOKENS = 2
"""What a tokenizer may put before a text at most."""
WINDOW_NAMES = ("n_positions", "max_position_embeddings", "n_ctx")


@dataclass(frozen=True, slots=True)
class Window:
    """How many tokens a model reads and writes together, and where its tokenizer is."""

    tokens: int
    folder: Path


class TokenCounter:
    """A model's tokenizer, of which only the number of tokens is wanted.

    Raises:
        ValueError: it cannot be read; tokenizers knows no other error than Exception.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:
            raise ValueError(str(error)) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        alone, example = (self._tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        start = self._tokenizer.id_to_token(example[0]) if example[:1] != alone[:1] else None
        self._prefix = int(start is not None and start == start_token(folder))  # tokens before every prompt

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """How many tokens each prompt has; half a character, which the worker refuses, counts as a question mark."""
        texts = [prompt.encode("utf-8", "replace").decode() for prompt in prompts]
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [self._prefix + max(len(one), 1) for one in encoded]


def start_token(folder: Path) -> str | None:
    """The token that the tokenizer's configuration says texts begin with."""
    with suppress(Exception):  # there may be anything in it, or nothing
        said = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("bos_token")
        return str(said.get("content")) if isinstance(said, dict) else said
    return None


def local_window(model: str) -> Window | None:
    """The window of a model whose configuration and tokenizer are on this machine; None if they are not, or odd."""
    with suppress(Exception):  # whatever is wrong with a model's files, the worker says it
        tokens, place = local_positions(model), tokenizer_folder(model)
        return Window(tokens, place) if tokens and place and (place / "tokenizer.json").is_file() else None
    return None


def local_positions(model: str) -> int | None:
    """How many tokens a model reads at once, where its configuration is on this machine; None if it is not, or odd."""
    with suppress(Exception):  # whatever is wrong with a model's files, the worker says it
        folder = model_folder(model)
        base = folder and _base(folder)
        return _positions(base) if base else None
    return None


def model_folder(model: str) -> Path | None:
    """Where a model's files are on this machine; None if they are not.

    Raises:
        ModelUnavailable: it is a version of a model of one's own that is not here.
    """
    if model == "demo":
        worker = find_spec("worker")
        places = worker.submodule_search_locations if worker else None
        return Path(places[0]) / "demo" / "gpt2" if places else None
    if (path := local_path(model) or own_model_folder(model)) is not None:
        return path
    from huggingface_hub import try_to_load_from_cache

    named = HubModel.parse(model)
    for file in ("config.json", adapter.CONFIG):
        found = try_to_load_from_cache(named.id, file, revision=named.revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def tokenizer_folder(model: str) -> Path | None:
    """Where a model's tokenizer is on this machine: an adapter's own, or its model's."""
    folder = model_folder(model)
    for place in (folder, folder and _base(folder)):
        if place and any((place / name).is_file() for name in TOKENIZER_FILES):
            return place
    return None


def _base(folder: Path) -> Path | None:
    """Where the model itself is that an adapter in a folder belongs to; else that folder."""
    if not adapter.is_adapter({path.name for path in folder.iterdir()}, WEIGHTS):
        return folder
    return model_folder(adapter.base_model(folder))


def _positions(folder: Path) -> int | None:
    config = json.loads((folder / "config.json").read_bytes())
    config = config.get("text_config") or config
    return next((config[name] for name in WINDOW_NAMES if isinstance(config.get(name), int)), None)


@dataclass(frozen=True, slots=True)
class _Prompt:
    """One that may be too long."""

    text: str
    line: int
    most: int  # max_new_tokens
    way: str  # on_too_long


class LongPrompts:
    """Counts the prompts of one file that do not fit, by what becomes of them.

    Only what has more bytes than the window has room is tokenised: a text has hardly ever more tokens than bytes.
    """

    def __init__(self, window: Window | None, base: SamplingSettings) -> None:
        self._window, self._base = window, base
        self._tokens = sys.maxsize if window is None else window.tokens
        self._counter: TokenCounter | None = None  # read when it is first needed
        self._waiting: list[_Prompt] = []
        self._bytes = 0
        self._spent = 0.0  # seconds
        self._unread_from: int | None = None  # the line from which on nothing was counted
        self._lines: dict[str, list[int]] = {}

    @property
    def refused(self) -> int | None:
        """How many will be given up; None = not known."""
        return None if self._window is None else len(self._lines.get("refuse", ()))

    def look(self, row: PromptRow, line: int) -> None:
        """Takes note of a row. Of messages the chat template makes some tokens more, which are not known here."""
        own = row.settings or {}
        most = own.get("max_new_tokens", self._base.max_new_tokens)
        size = len(row.prompt) if row.prompt.isascii() else len(row.prompt.encode("utf-8", "surrogatepass"))
        if self._fits(size + ADDED_TOKENS, most) or self._unread_from is not None:
            return
        if self._spent > SECONDS:
            self._unread_from = line
            return
        beginning = row.prompt[: TOKEN_CHARACTERS * self._tokens]  # which alone is too long; the rest takes memory
        self._waiting.append(_Prompt(beginning, line, most, own.get("on_too_long", self._base.on_too_long)))
        self._bytes += size
        if self._bytes >= BATCH_BYTES:
            self.count()

    def count(self) -> None:
        """Counts what waits to be counted."""
        if self._window is None or not self._waiting:
            return
        since, waiting = time.monotonic(), self._waiting
        self._waiting, self._bytes = [], 0
        try:
            self._counter = self._counter or TokenCounter(self._window.folder)
        except (ImportError, ValueError):
            self._window, self._tokens = None, sys.maxsize  # as if it were not on this machine
            return
        lengths = self._counter.lengths([prompt.text for prompt in waiting])
        for prompt, tokens in zip(waiting, lengths, strict=True):
            if not self._fits(tokens, prompt.most):
                self._lines.setdefault(self._outcome(prompt, tokens), []).append(prompt.line)
        self._spent += time.monotonic() - since

    def _fits(self, tokens: int, most: int) -> bool:
        return room_for_text(self._tokens, tokens) >= most

    def _outcome(self, prompt: _Prompt, tokens: int) -> str:
        can_fit = self._fits(tokens, 1) if prompt.way == "shorten" else self._fits(ADDED_TOKENS, prompt.most)
        return prompt.way if can_fit else "refuse"

    def remarks(self) -> list[str]:
        """What the user should know."""
        if self._window is None:
            return []
        said = [
            f"{_prompts(len(lines))} too long for the model's window of {self._tokens:,} tokens, max_new_tokens "
            f"included ({_line_list(lines)}); {_CONSEQUENCES[way]}"
            for way, lines in self._lines.items()
        ]
        if self._unread_from is not None:
            said.append(
                f"from line {self._unread_from:,} on it is not known whether prompts fit the model's window of "
                f"{self._tokens:,} tokens: counting them would take too long"
            )
        return said


_CONSEQUENCES = {
    "refuse": "they will be given up; --on-too-long truncate-left, truncate-right or shorten fits them, in a retry too",
    "truncate-left": "their beginnings are left out",
    "truncate-right": "their ends are left out",
    "shorten": "their texts are shorter than max_new_tokens",
}


def _prompts(count: int) -> str:
    return "1 prompt is" if count == 1 else f"{count:,} prompts are"


def _line_list(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - SHOWN_LINES:,} more" if len(lines) > SHOWN_LINES else ""
    return f"line{'' if len(lines) == 1 else 's'} {', '.join(f'{line:,}' for line in lines[:SHOWN_LINES])}{more}"
