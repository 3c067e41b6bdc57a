"""Prompts that are costly to read, through the real engine: no step of it waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from contract.settings import Settings
from db.models import Output, Prompt
from db.session.engine import Database
from db.work.claims import claim_generation
from worker.engine import encoded_prompt
from worker.engine.load.loading import load_engine
from worker.engine.sampling.bad_words import BadWords
from worker.runtime.classifiers import Classifiers
from worker.runtime.runtime import Runtime
from worker.tasks.generate import generate

WORDS = tuple(f"{number:03} " + "words never to write " * 50 for number in range(1000))
"""A megabyte of them; each has several hundred tokens."""


@pytest.fixture
def runtime(database: Database, tmp_path: Path) -> Iterator[Runtime]:
    config = Settings(home=tmp_path, redis_url="redis://127.0.0.1:1/0", service_seconds=1)
    loaded = load_engine("demo", "cpu", "fp32", slots=8)
    runtime = Runtime(
        worker="w1", database=database, config=config, loaded=loaded, classifiers=Classifiers(("demo",), "cpu")
    )
    runtime.start()
    yield runtime
    runtime.stopping.set()
    runtime.leases.stop()


def run(runtime: Runtime) -> None:
    while (claim := claim_generation(runtime.database, runtime.ability, 60)) is not None:
        generate(runtime, claim)


def in_steps(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the engine's own thread tokenises."""
    vocabulary = runtime.feeder.engine._vocabulary
    found, tokens = list[str](), vocabulary.tokens

    def tokenised(text: str) -> Any:
        if threading.current_thread().name == "engine":
            found.append(text[:20])
        return tokens(text)

    monkeypatch.setattr(vocabulary, "tokens", tokenised)
    return found


def test_a_prompt_of_many_samples_and_a_megabyte_of_bad_words_is_read_once_and_outside_the_step(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        encoded_prompt, "BadWords", lambda words, *args, **named: read.extend(words) or BadWords(words, *args, **named)
    )
    late = in_steps(runtime, monkeypatch)
    submit("Once", "The", n=20, safety="none", max_new_tokens=3, bad_words=WORDS)
    run(runtime)
    with database.read() as connection:
        assert len(connection.execute(select(Output.id)).all()) == 40
    assert len(read) == len(WORDS)  # once for the job, which is what both prompts say
    assert not late


def test_prompts_far_too_long_die_for_their_length_without_being_tokenised(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[int] = []
    tokens = runtime.feeder.engine._vocabulary.tokens
    monkeypatch.setattr(
        runtime.feeder.engine._vocabulary, "tokens", lambda text: longest.append(len(text)) or tokens(text)
    )
    submit(*(f"{number} " + "x " * 450_000 for number in range(12)), "Once", safety="none", max_new_tokens=3)
    run(runtime)
    with database.read() as connection:
        reasons = connection.execute(select(Prompt.status, Prompt.reason).order_by(Prompt.position)).all()
    assert [row.status for row in reasons] == ["dead"] * 12 + ["done"]
    assert all("at least" in row.reason and "shorten the prompt" in row.reason for row in reasons[:12])
    assert max(longest) < 100
