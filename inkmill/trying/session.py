"""`inkmill try` without a prompt: a model stays loaded, and continues one line after the other."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.text import Text

from contract.errors import InkmillError
from inkmill.show.terminal import messages, output
from inkmill.trying.samples import SAMPLES, draw_seeds, how_it_ended, show
from inkmill.trying.session_commands import Session
from inkmill.trying.writing import GeneratedSample, SentPrompt, Stopped, Watcher, Writer


def converse(writer: Writer, session: Session, lines: Iterable[str], *, json: bool) -> None:
    """Goes through the lines until there are none. What cannot be done is told, and the next line comes."""
    for line in lines:
        try:
            if line.startswith(":") and not line.startswith("::"):
                messages.print(session.change(line), markup=False)
            elif line.strip():
                _answer(writer, session, line.removeprefix(":") if line.startswith("::") else line, json=json)
        except InkmillError as error:
            messages.print(str(error), markup=False)


def _answer(writer: Writer, session: Session, line: str, *, json: bool) -> None:
    """Writes the samples of one prompt, or with a chat model the answer, which stays part of the conversation."""
    turns = [*session.turns, {"role": "user", "content": line}]
    chat = writer.is_chat_model or bool(session.turns)
    prompt = writer.sent(turns) if chat else SentPrompt(line)
    settings = session.settings
    watcher = Watcher() if json else Printer("" if chat else line, settings.n)
    answer = ""
    with ended_by_ctrl_c() as is_ended:
        interruptible = Interruptible(watcher, is_ended)
        try:
            samples = writer.write(prompt, settings, draw_seeds(session.seed, settings.n), interruptible)
            answer = samples[0].text
            if json:
                show(samples, json=True)
        except Stopped:
            answer = interruptible.first
            if isinstance(watcher, Printer):
                watcher.stop()
    if chat and answer.strip():
        session.turns = [*turns, {"role": "assistant", "content": answer}]


@contextmanager
def ended_by_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed in a block, in place of what it does otherwise: a step of the engine is one
    piece."""
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


class Interruptible(Watcher):
    """Passes on what it is told, and raises Stopped once the user wants no more."""

    def __init__(self, watcher: Watcher, is_ended: Callable[[], bool]) -> None:
        self._watcher, self._is_ended = watcher, is_ended
        self.first = ""  # what was written of the first sample

    def grown(self, so_far: Callable[[int], str]) -> None:
        self.first = so_far(0) or self.first
        self._watcher.grown(so_far)
        if self._is_ended():
            raise Stopped

    def finished(self, index: int, sample: GeneratedSample) -> None:
        self.first = sample.text if index == 0 else self.first
        self._watcher.finished(index, sample)


class Printer(Watcher):
    """Prints samples as they grow, one after the other; what grows beside the first waits for its turn."""

    def __init__(self, prompt: str, count: int) -> None:
        """
        Args:
            prompt: shown before each text.
            count: how many samples there will be.
        """
        self._prompt, self._count = prompt, count
        self._current, self._printed = 0, ""  # the sample whose turn it is, and what is shown of it
        self._begun = False
        self._whole: dict[int, GeneratedSample] = {}

    def grown(self, so_far: Callable[[int], str]) -> None:
        if self._current < self._count:
            self._show(so_far(self._current))

    def finished(self, index: int, sample: GeneratedSample) -> None:
        self._whole[index] = sample
        while self._current in self._whole:
            self._end(self._whole[self._current])

    def stop(self) -> None:
        """Nothing more will come."""
        if self._begun:
            output.print()
        output.rule("stopped")

    def _show(self, text: str) -> None:
        """Prints what was added. Few tokenizers change what stood there before; then its end tells."""
        if not self._begun and text:
            output.print(Text(self._prompt, style="dim"), end="")
            self._begun = True
        if text.startswith(self._printed):
            output.print(Text(text[len(self._printed) :]), end="")
            self._printed = text

    def _end(self, sample: GeneratedSample) -> None:
        self._show(sample.text)
        if not self._begun:
            output.print(Text(self._prompt, style="dim"), end="")
        output.print()
        if self._printed != sample.text:
            output.print(Text(sample.text))
        output.rule(how_it_ended(sample))
        self._current, self._printed, self._begun = self._current + 1, "", False


def start_session(writer: Writer, sampling: dict[str, Any], *, seed: int | None, system: str | None) -> Session:
    """A session with what the command line says.

    Raises:
        InkmillError: there is a system message, and the model has no chat template.
    """
    turns = [{"role": "system", "content": system}] if system is not None else []
    if turns:
        writer.sent([*turns, {"role": "user", "content": "."}])
    return Session(texts=1 if writer.is_chat_model else SAMPLES, sampling=dict(sampling), seed=seed, turns=turns)
