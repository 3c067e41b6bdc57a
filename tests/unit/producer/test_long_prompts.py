"""Prompts that are too long for the model, counted at submit by the tokenizer on this machine."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from contract.spec import PromptRow, SamplingSettings
from producer import long_prompts
from producer.long_prompts import LongPrompts, TokenCounter, Window, local_window

DEMO = local_window("demo")
assert DEMO is not None
WINDOW = DEMO.tokens
ROOM = WINDOW + 1  # a prompt and its text together: the last token needs no position
WORDS = "The captain went down to the river. "


def prompt_of(tokens: int) -> str:
    """A prompt of exactly so many tokens."""
    assert DEMO is not None
    counter, text = TokenCounter(DEMO.folder), ""
    while counter.lengths([text + " a"])[0] <= tokens:
        text += " a" * max(1, (tokens - counter.lengths([text])[0]) // 2)
    assert counter.lengths([text]) == [tokens]
    return text


def counted(rows: list[tuple[str, dict[str, Any] | None]], window: Window | None = DEMO, **base: Any) -> LongPrompts:
    long = LongPrompts(window, SamplingSettings(**base))
    for position, (prompt, own) in enumerate(rows):
        long.look(PromptRow(position=position, prompt=prompt, n=1, settings=own), position + 1)
    long.count()
    return long


def test_a_prompt_is_too_long_by_the_token_that_is_one_too_many() -> None:
    fits, too_long = prompt_of(ROOM - 64), prompt_of(ROOM - 63)
    assert counted([(fits, None)]).remarks() == []
    long = counted([("a", None), (too_long, None), (fits, {"max_new_tokens": 65}), (too_long, {"max_new_tokens": 63})])
    assert long.refused == 2
    assert long.remarks() == [
        f"2 prompts are too long for the model's window of {WINDOW:,} tokens, max_new_tokens included (lines 2, 3); "
        "they will be given up; --on-too-long truncate-left, truncate-right or shorten fits them, in a retry too"
    ]


def test_what_becomes_of_each_is_told_by_its_own_setting() -> None:
    longest = WORDS * WINDOW
    long = counted(
        [
            (longest, None),
            (longest, {"on_too_long": "truncate-left"}),
            (longest, {"on_too_long": "shorten"}),
            (longest, {"on_too_long": "refuse"}),
            (prompt_of(ROOM - 1), {"on_too_long": "shorten"}),
            ("a", {"on_too_long": "truncate-left", "max_new_tokens": ROOM}),
        ],
        on_too_long="truncate-right",
    )
    right, left, refused, short = (remark.partition("(")[2] for remark in long.remarks())
    assert right == "line 1); their ends are left out"
    assert left == "line 2); their beginnings are left out"
    assert refused.startswith("lines 3, 4, 6); they will be given up")
    assert short == "line 5); their texts are shorter than max_new_tokens"
    assert long.refused == 3


def test_short_prompts_are_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenCounter, "__init__", lambda *_: pytest.fail("the tokenizer was loaded"))
    assert counted([("a" * (WINDOW - 70), None)] * 9).refused == 0


def test_counting_ends_when_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_prompts, "SECONDS", -1.0)
    long = counted([("a", None), (WORDS * WINDOW, None)])
    assert long.remarks() == [
        f"from line 2 on it is not known whether prompts fit the model's window of {WINDOW:,} tokens: "
        "counting them would take too long"
    ]


@pytest.mark.parametrize("damage", ["no tokenizer", "no window", "no configuration", "nothing", "half a tokenizer"])
def test_where_the_model_says_too_little_nothing_is_said(tmp_path: Path, damage: str) -> None:
    assert DEMO is not None
    folder = tmp_path / "model"
    shutil.copytree(DEMO.folder, folder)
    if damage == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif damage == "no configuration":
        (folder / "config.json").unlink()
    elif damage == "no window":
        (folder / "config.json").write_text(json.dumps({"model_type": "odd"}))
    elif damage == "half a tokenizer":
        (folder / "tokenizer.json").write_text('{"version": "1.0", ')
    else:
        shutil.rmtree(folder)
    long = counted([(WORDS * WINDOW, None)], local_window(str(folder)))
    assert (long.refused, long.remarks()) == (None, [])


def test_a_model_of_the_hub_that_was_never_fetched_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert local_window("gpt2-that-nobody-has") is None


def test_a_tokenizer_that_is_not_installed_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert counted([(WORDS * WINDOW, None)]).refused is None
