"""A session of `inkmill try`, line by line: what is printed while texts grow, and what a chat model is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from contract.errors import InkmillError
from contract.spec import Messages, SamplingSettings
from inkmill.trying.session import converse
from inkmill.trying.session_commands import Session
from inkmill.trying.writing import GeneratedSample, SentPrompt, Stopped, Watcher


class Echo:
    """A writer whose texts are known: sample 0 grows by a word a step, sample 1 twice as fast."""

    model = "echo"

    def __init__(self, *, chats: bool = False) -> None:
        self.is_chat_model = chats
        self.asked: list[tuple[SentPrompt, SamplingSettings, list[int]]] = []
        self.stop_after: int | None = None

    def sent(self, conversation: Messages) -> SentPrompt:
        return SentPrompt("|".join(f"{turn['role']}:{turn['content']}" for turn in conversation), chat=True)

    def write(
        self, prompt: SentPrompt, settings: SamplingSettings, seeds: Sequence[int], watcher: Watcher
    ) -> list[GeneratedSample]:
        self.asked.append((prompt, settings, list(seeds)))
        if prompt.text == "bad":
            raise InkmillError("the prompt cannot be continued: it is bad")
        whole = [[" one", " two", " three", " four"][: 4 - 2 * index] for index in range(len(seeds))]
        written = dict[int, GeneratedSample]()
        for step in range(1, 5):
            if step == self.stop_after:
                raise Stopped
            grown: dict[int, str] = {index: "".join(words[:step]) for index, words in enumerate(whole)}
            for index, words in enumerate(whole):
                if index not in written and step >= len(words):
                    written[index] = GeneratedSample(prompt.text, "".join(words), "length", len(words), 0, -1.0)
                    watcher.finished(index, written[index])
            watcher.grown(lambda index, grown=grown: "" if index in written else grown[index])
        return [written[index] for index in sorted(written)]


@pytest.fixture
def talk(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Types lines. Returns standard output and standard error."""

    def talking(writer: Any, *lines: str, texts: int = 1, json: bool = False) -> tuple[str, str]:
        converse(writer, Session(texts=texts), lines, json=json)
        said = capsys.readouterr()
        return said.out, said.err

    return talking


def test_texts_are_printed_whole_and_in_order(talk: Callable[..., tuple[str, str]]) -> None:
    out, _ = talk(Echo(), "Count", texts=2)
    texts = [line for line in out.splitlines() if "─" not in line]
    assert texts == ["Count one two three four", "Count one two"]
    assert out.count("length, ") == 2


def test_bad_input_is_told_and_the_next_line_comes(talk: Callable[..., tuple[str, str]]) -> None:
    out, err = talk(Echo(), ":set temperature hot", "bad", ":nonsense", "", "Count")
    assert "must be a number, not 'hot'" in err and "it is bad" in err and "there is no such command" in err
    assert "Count one two three four" in out


def test_two_colons_begin_a_prompt_with_one(talk: Callable[..., tuple[str, str]]) -> None:
    writer = Echo()
    talk(writer, "::set x")
    assert [prompt.text for prompt, _, _ in writer.asked] == [":set x"]


def test_a_seed_makes_the_same_samples_again_and_none_makes_others(talk: Callable[..., tuple[str, str]]) -> None:
    writer = Echo()
    _, err = talk(writer, ":seed 5", "Count", "Count", ":seed", "Count", texts=2)
    seeds = [seeds for _, _, seeds in writer.asked]
    assert seeds[0] == seeds[1] != seeds[2]
    assert err.count("seed 5\n") == 3


def test_a_chat_model_keeps_the_turns_until_a_new_conversation(talk: Callable[..., tuple[str, str]]) -> None:
    writer = Echo(chats=True)
    out, _ = talk(writer, "Hello", "bad", "Again", ":new", "Hello")
    assert [prompt.text for prompt, _, _ in writer.asked] == [
        "user:Hello",
        "user:Hello|assistant: one two three four|user:bad",
        "user:Hello|assistant: one two three four|user:bad|assistant: one two three four|user:Again",
        "user:Hello",
    ]
    assert all(prompt.chat for prompt, _, _ in writer.asked)
    assert "user:" not in out


def test_a_stopped_answer_stays_in_the_conversation_as_far_as_it_was_written(
    talk: Callable[..., tuple[str, str]],
) -> None:
    writer = Echo(chats=True)
    writer.stop_after = 3
    out, _ = talk(writer, "Hello", "More")
    assert writer.asked[1][0].text == "user:Hello|assistant: one two|user:More"
    assert out.count("─ stopped ─") == 2 and " one two\n" in out


def test_json_has_one_list_for_each_prompt(talk: Callable[..., tuple[str, str]]) -> None:
    out, _ = talk(Echo(), "Count", "Count", json=True)
    assert out.count('"text": " one two three four"') == 2 and "─" not in out
