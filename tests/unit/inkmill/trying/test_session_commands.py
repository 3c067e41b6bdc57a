"""What can be typed in a session of `inkmill try` besides prompts."""

from __future__ import annotations

from typing import Any

import pytest

from contract.errors import InkmillError
from inkmill.trying.session_commands import HELP, Session


@pytest.fixture
def session() -> Session:
    return Session(texts=3)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (":set temperature 0.7", "temperature", 0.7),
        (":set temperature=0.7", "temperature", 0.7),
        (": set  --temperature  0.7 ", "temperature", 0.7),
        (":set max-tokens 9", "max_new_tokens", 9),
        (":set do_sample yes", "do_sample", True),
        (r":set stop \n\n", "stop", ("\n\n",)),
        (':set stop ["a", "b"]', "stop", ("a", "b")),
        (":set stop a=b", "stop", ("a=b",)),
        (':set logit_bias {"198": -100}', "logit_bias", ((198, -100.0),)),
        (":set top_k -1", "top_k", 0),
    ],
)
def test_a_setting_takes_what_a_flag_and_a_cell_take(session: Session, line: str, name: str, value: Any) -> None:
    assert session.change(line).startswith(f"{name} ")
    assert getattr(session.settings, name) == value


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (":set temperature hot", "temperature: must be a number, not 'hot'"),
        (":set temperature -1", "temperature: "),
        (":set tempratur 1", "did you mean temperature?"),
        (":set max_length 9", "use max_new_tokens instead"),
        (":set min_new_tokens 99", "min_new_tokens: is 99, more than max_new_tokens 64"),
        (":set n 0", "n: "),
        (":unset colour", "colour: is not a setting"),
        (":seed x", "seed: "),
        (":seed -5", "seed: "),
        (":sed 4", "did you mean seed?"),
        (":", "there is no such command; type :help"),
    ],
)
def test_what_cannot_be_set_is_told_and_changes_nothing(session: Session, line: str, told: str) -> None:
    session.change(":set top_p 0.5")
    with pytest.raises(InkmillError) as refusal:
        session.change(line)
    assert told in str(refusal.value)
    assert session.sampling == {"top_p": 0.5} and session.seed is None


def test_greedy_writes_one_text_unless_more_were_asked_for(session: Session) -> None:
    assert session.settings.n == 3
    session.change(":set temperature 0")
    assert session.settings.n == 1
    with pytest.raises(InkmillError, match="greedy decoding makes the same text every time"):
        session.change(":set n 2")
    session.change(":unset temperature")
    assert session.settings.n == 3


def test_settings_are_shown_and_go_back_to_their_defaults(session: Session) -> None:
    session.change(":set top_k 7")
    shown = session.change(":set").splitlines()
    assert "top_k 7" in shown and "temperature 1" in shown and "stop none" in shown
    assert session.change(":set top_k") == "top_k 7"
    assert session.change(":unset") == "top_k 50"
    assert session.sampling == {}


def test_a_seed_holds_until_it_is_taken_back(session: Session) -> None:
    assert session.change(":seed 5") == "seed 5" and session.seed == 5
    assert session.change(":set seed 6") == "seed 6" and session.seed == 6
    assert session.change(":seed") == "seed drawn for each prompt" and session.seed is None


def test_a_new_conversation_keeps_the_system_message(session: Session) -> None:
    session.turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert session.change(":new") == "a new conversation"
    assert session.turns == [{"role": "system", "content": "Be brief."}]


def test_help_names_every_command(session: Session) -> None:
    assert session.change(":help") == HELP
    assert all(f":{command}" in HELP for command in session._commands())
