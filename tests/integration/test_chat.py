"""A conversation from its prompt file to exports, and made again: the commands, a worker's runtime and a tiny model."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.settings import settings
from db.session.engine import open_database
from inkmill.cli import run
from tests.integration.test_reproduce import write
from tests.unit.engine.tiny_models import CHAT_TEMPLATE, make_gpt2

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Where was the miller?"}
ANSWER = {"role": "assistant", "content": "By the river."}
CHAT: list[dict[str, Any]] = [
    {"messages": [USER], "custom_id": "one", "metadata": {"topic": "mill"}},
    {"messages": [SYSTEM, USER, ANSWER, USER], "temperature": 0.7, "logprobs": 2},
    {"messages": [USER], "seed": 5, "stop": ["e"]},
]
PLAIN: list[dict[str, Any]] = [{"prompt": "Once upon a time"}]
MADE = "<|endoftext|><|im_start|>user\nWhere was the miller?<|im_end|>\n<|im_start|>assistant\n"


@dataclass
class Mill:
    """A home, and the commands run in it."""

    home: Path
    said: Callable[[], Any]

    def run(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Standard output and standard error."""
        settings.cache_clear()
        self.said()
        assert run(list(words)) == status
        said = self.said()
        return said.out, said.err

    def submit(self, rows: list[dict[str, Any]], *options: str, model: Path, file: str = "p.jsonl") -> str:
        """Returns what was said."""
        (self.home / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
        how = ("--model", str(model), "--safety", "none", "--seed", "7", "--max-new-tokens", "6", "--again")
        return self.run("submit", str(self.home / file), *how, *options)[1]

    def write(self, model: Path) -> None:
        database = open_database(f"sqlite:///{self.home / 'inkmill.db'}")
        write(database, self.home, str(model), "fp32")
        database.close()

    def export(self, job: int, ending: str = "jsonl", *options: str) -> list[dict[str, Any]]:
        path = self.home / f"out{job}.{ending}"
        self.run("export", str(job), "-o", str(path), "--force", *options)
        return [json.loads(line) for line in path.read_bytes().splitlines()] if ending == "jsonl" else []

    def sql(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.home / "inkmill.db")) as connection, connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
def mill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Mill]:
    for name in ("INKMILL_DATABASE_URL", "INKMILL_REDIS_URL", "INKMILL_DEVICE", "INKMILL_DTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path))
    yield Mill(tmp_path, capsys.readouterr)
    settings.cache_clear()


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gpt2(tmp_path_factory.mktemp("chatty"), chat=CHAT_TEMPLATE).resolve()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gpt2(tmp_path_factory.mktemp("plain")).resolve()


def test_a_conversation_is_written_exported_submitted_again_and_made_again(mill: Mill, chatty: Path) -> None:
    said = mill.submit(CHAT, "--n", "2", model=chatty)
    assert "chat template" not in said
    mill.write(chatty)
    lines = mill.export(1)
    assert [line["messages"] for line in lines] == [row["messages"] for row in CHAT for _ in range(2)]
    assert lines[0]["prompt"] == MADE
    assert len({line["text"] for line in lines}) > 3
    out, _ = mill.run("reproduce", "--job", "1")
    assert out == "6 of 6 the same\n"
    for ending in ("jsonl", "csv", "parquet"):
        mill.export(1, ending)
        again = ("--model", str(chatty), "--safety", "none", "--again")
        mill.run("submit", str(mill.home / f"out1.{ending}"), *again)
    rows = mill.sql("SELECT messages, prompt, custom_id, metadata FROM prompts ORDER BY job_id, position")
    assert rows[:3] * 4 == rows
    (body,) = {line["response"]["body"]["object"] for line in mill.export(1, "jsonl", "--format", "openai")}
    assert body == "chat.completion"


def test_a_batch_file_of_chat_completions_is_written_like_messages(mill: Mill, chatty: Path) -> None:
    request = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions"}
    mill.submit([request | {"body": {"model": "any", "messages": [USER]}}], "--top-k", "50", model=chatty)
    mill.submit(CHAT[:1], model=chatty)
    mill.write(chatty)
    (from_openai,), (from_row,) = mill.export(1), mill.export(2)
    assert from_openai["prompt"] == from_row["prompt"] == MADE
    assert from_openai["text"] == from_row["text"]


def test_what_was_sent_once_is_sent_again_whatever_the_template_makes_of_it_now(mill: Mill, chatty: Path) -> None:
    mill.submit(CHAT[:1], "--n", "2", model=chatty)
    mill.sql("UPDATE prompts SET sent = 'Once upon yesterday'")
    mill.write(chatty)
    assert {line["prompt"] for line in mill.export(1)} == {"Once upon yesterday"}
    assert mill.run("reproduce", "--job", "1")[0] == "2 of 2 the same\n"


def test_a_model_without_a_template_gives_messages_up_and_writes_the_rest(mill: Mill, plain: Path) -> None:
    said = mill.submit(CHAT + PLAIN, model=plain)
    assert f"note: 3 rows have messages, and the model {plain} has no chat template" in said
    mill.write(plain)
    status = json.loads(mill.run("status", "1", "--json")[0])
    assert (status["prompts"]["dead"], status["prompts"]["done"]) == (3, 1)
    (failure,) = status["failures_by_code"].items()
    assert failure[0] == "no-chat-template"
    assert f"the model {plain} has no chat template" in failure[1]["reason"]
    mill.export(1)
    lost = [json.loads(line) for line in (mill.home / "out1.jsonl.errors.jsonl").read_bytes().splitlines()]
    assert [line["messages"] for line in lost] == [row["messages"] for row in CHAT]


def test_plain_prompts_to_a_model_that_chats_are_remarked_on_once(mill: Mill, chatty: Path, plain: Path) -> None:
    assert mill.submit(PLAIN * 3, model=chatty).count(f"the model {chatty} has a chat template, which plain") == 1
    assert "chat template" not in mill.submit(PLAIN * 3, model=plain)
    assert "chat template" not in mill.submit(PLAIN * 3, "--system", "Be brief.", model=chatty)


def test_a_system_message_can_be_tried_and_is_the_same_in_a_job(mill: Mill, chatty: Path) -> None:
    how = ("--model", str(chatty), "--dtype", "fp32", "--seed", "7", "--max-new-tokens", "6", "--n", "1", "--json")
    out, said = mill.run("try", USER["content"], "--system", "Be brief.", *how)
    assert "note" not in said
    mill.submit([{"prompt": USER["content"]}], "--system", "Be brief.", model=chatty)
    mill.write(chatty)
    (tried,), (line,) = json.loads(out), mill.export(1)
    assert line["messages"] == [SYSTEM, USER]
    assert (tried["prompt"], tried["text"]) == (line["prompt"], line["text"])
    assert "which plain prompts do not go through" in mill.run("try", "Once", *how)[1]


def test_trying_a_system_message_on_a_model_without_a_template_is_refused(mill: Mill, plain: Path) -> None:
    _, said = mill.run("try", "Once", "--system", "Be brief.", "--model", str(plain), "--dtype", "fp32", status=1)
    assert f"the model {plain} has no chat template" in said
