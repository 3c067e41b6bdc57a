"""Rows with messages in place of a prompt, in every form of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import UsageError
from contract.spec import PromptRow
from producer.export import export_job
from producer.read.read_options import ReadOptions
from tests.unit.producer.conftest import Read
from tests.unit.producer.exports.conftest import Mill, mill, out

__all__ = ["mill", "out"]  # fixtures
Reading = Callable[..., Read]

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Name a river."}
ANSWER = {"role": "assistant", "content": "The Elbe."}
AGAIN = {"role": "user", "content": "Another, “bitte”,\nplease. "}
TALK = [SYSTEM, USER, ANSWER, AGAIN]


def line(**fields: Any) -> str:
    return json.dumps(fields) + "\n"


def test_a_row_of_messages_keeps_them_and_reads_as_one_text(read: Reading) -> None:
    found = read(line(messages=TALK, custom_id="a", temperature=0.5) + line(prompt="plain", messages=None))
    assert not found.bad, found.told
    chat, plain = found.rows
    assert (chat.messages, chat.custom_id, chat.settings) == (TALK, "a", {"temperature": 0.5})
    assert chat.prompt == (
        "system: Be brief.\n\nuser: Name a river.\n\nassistant: The Elbe.\n\nuser: Another, “bitte”,\nplease. "
    )
    assert (plain.prompt, plain.messages) == ("plain", None)
    assert not found.remarks  # the space at the end is no prompt's


def test_what_clients_add_to_messages_passes_where_it_says_nothing(read: Reading) -> None:
    dumped = USER | {"name": None, "tool_calls": [], "refusal": None}
    assert [row.messages for row in read(line(messages=[dumped])).rows] == [[USER]]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"messages": [USER], "prompt": "x"}, "messages: stands beside prompt; keep one of them"),
        ({"messages": [USER], "prompt": ""}, "messages: stands beside prompt; keep one of them"),
        ({"messages": []}, "messages: is an empty list; write at least one message"),
        ({"messages": "Name a river."}, "messages: must be a list such as"),
        ({"messages": ["Name a river."]}, "messages[0]: must be an object such as"),
        ({"messages": [USER, ANSWER]}, "messages[1].role: is assistant, and the model is to write that message"),
        ({"messages": [USER | {"role": "tool"}]}, "messages[0].role: is 'tool'; use one of system, user, assistant"),
        ({"messages": [USER | {"role": "usr"}]}, "messages[0].role: is 'usr'; did you mean user?"),
        ({"messages": [USER | {"role": "developer"}]}, "messages[0].role: is 'developer'; write \"system\""),
        ({"messages": [USER | {"role": 5}]}, "messages[0].role: is '5'; use one of"),
        ({"messages": [{"content": "x"}]}, "messages[0].role: is missing; write one of system, user, assistant"),
        ({"messages": [SYSTEM, USER | {"content": ""}]}, "messages[1].content: is empty; write a text"),
        ({"messages": [USER | {"content": " \n"}]}, "messages[0].content: is empty"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: is empty"),
        ({"messages": [USER | {"content": 5}]}, "messages[0].content: must be text"),
        ({"messages": [USER | {"content": "a\0b"}]}, "messages: contains"),
        (
            {"messages": [USER | {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content: is a list of parts; write one text (images, sounds and files are not supported)",
        ),
        ({"messages": [USER | {"tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls: is not supported"),
        ({"messages": [USER], "on_too_long": "truncate-left"}, "on_too_long: is truncate-left, but nothing can be"),
        ({"message": [USER]}, "message: is not a setting; did you mean messages?"),
    ],
)
def test_messages_that_cannot_be_used_are_named_by_line_and_place(
    read: Reading, fields: dict[str, Any], told: str
) -> None:
    found = read(line(prompt="good") + line(**fields))
    assert found.told.startswith("line 2: " + told), found.told
    assert len(found.rows) == 1


def test_a_job_that_cuts_what_is_too_long_takes_no_messages(read: Reading) -> None:
    found = read(line(messages=[USER]) + line(prompt="x"), flags={"on_too_long": "truncate-right"})
    assert found.told.startswith("line 1: on_too_long: is truncate-right")
    assert not read(line(messages=[USER]), flags={"on_too_long": "shorten"}).bad


def test_a_system_message_of_the_command_goes_before_those_that_have_none(read: Reading) -> None:
    rows = line(messages=[USER]) + line(messages=TALK) + line(prompt="Name a sea.") + line(prompt="")
    found = read(rows, system="Rhyme.")
    rhyme = {"role": "system", "content": "Rhyme."}
    assert [row.messages for row in found.rows] == [
        [rhyme, USER], TALK, [rhyme, {"role": "user", "content": "Name a sea."}],
    ]  # fmt: skip
    assert found.told == ("line 4: prompt: is empty, and with --system it is the user's message; write one")
    (text,) = read("Name a sea.\n", "p.txt", system="Rhyme.").rows
    assert text.prompt == "system: Rhyme.\n\nuser: Name a sea."


def test_an_empty_system_message_is_refused() -> None:
    for text in ("", " \n", "\udc80"):
        with pytest.raises(UsageError, match=r"^--system: "):
            ReadOptions(system=text)


def test_a_system_message_makes_another_job_and_none_the_same_as_ever() -> None:
    assert ReadOptions().fingerprint_factors() == []
    assert ReadOptions(system="a").fingerprint_factors() != ReadOptions(system="b").fingerprint_factors()


def test_a_table_may_have_a_column_of_messages(read: Reading, tmp_path: Path) -> None:
    cell = json.dumps(TALK, ensure_ascii=False).replace('"', '""')
    csv = f'custom_id,messages,prompt,message\na,"{cell}",,kept\nb,,plain,\n'
    assert [(row.messages, row.metadata) for row in read(csv, "p.csv").rows] == [
        (TALK, {"message": "kept"}), (None, None),
    ]  # fmt: skip
    assert [row.messages for row in read(f'messages\n"{cell}"\n', "p.csv").rows] == [TALK]
    pq.write_table(pa.table({"messages": [TALK, [USER]], "topic": ["x", "y"]}), tmp_path / "t.parquet")
    found = read((tmp_path / "t.parquet").read_bytes(), "p.parquet")
    assert [(row.messages, row.metadata) for row in found.rows] == [(TALK, {"topic": "x"}), ([USER], {"topic": "y"})]


def test_a_cell_of_messages_that_is_none_is_a_bad_line(read: Reading) -> None:
    found = read("messages,prompt\nName a river.,\n,\n[{}],x\n", "p.csv")
    first, second, third = found.told.splitlines()
    assert first.startswith("line 2: messages: must be a list in JSON, for example [{")
    assert second.startswith("line 3: ")
    assert third.startswith("line 4: messages: stands beside prompt; keep one of them")
    kept = read("messages,prompt\nName a river.,x\n", "p.csv", metadata_columns=("messages",))
    assert [row.metadata for row in kept.rows] == [{"messages": "Name a river."}]
    named = read(line(messages=[USER], text="x"), prompt_column="text")
    assert [(row.prompt, row.messages, row.metadata) for row in named.rows] == [("x", None, {"messages": [USER]})]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("flat", [False, True])
def test_an_export_carries_messages_back(mill: Mill, out: Path, read: Reading, ending: str, flat: bool) -> None:
    if flat and ending == "jsonl":
        pytest.skip("JSON lines have no columns")
    metadata = {"topic": "x"}
    rows = [PromptRow(position=0, prompt="as text", messages=TALK, n=2, metadata=metadata), "plain"]
    export_job(mill.database, _written(mill, rows), out / f"o.{ending}", flat=flat)
    found = read((out / f"o.{ending}").read_bytes(), f"p.{ending}")
    assert not found.bad, found.told
    assert [(row.messages, row.metadata) for row in found.rows] == [(TALK, metadata), (None, None)]
    assert found.rows[1].prompt == "plain"


def test_dead_messages_can_be_submitted_again(mill: Mill, out: Path, read: Reading) -> None:
    job = mill.submit([PromptRow(position=0, prompt="as text", messages=TALK, n=1), "plain"])
    mill.generate(dead={0: "no template", 1: "too long"})
    export_job(mill.database, job, out / "o.jsonl")
    lost = [json.loads(one) for one in (out / "o.jsonl.errors.jsonl").read_bytes().splitlines()]
    assert lost[0]["messages"] == TALK
    assert "messages" not in lost[1]
    found = read((out / "o.jsonl.errors.jsonl").read_bytes())
    assert [row.messages for row in found.rows] == [TALK, None]


def test_an_export_says_what_was_sent_and_of_which_messages(mill: Mill, out: Path) -> None:
    job = _written(mill, [PromptRow(position=0, prompt="as text", messages=TALK, n=1), "plain"])
    export_job(mill.database, job, out / "o.jsonl")
    chat, plain = [json.loads(one) for one in (out / "o.jsonl").read_bytes().splitlines()]
    assert (chat["prompt"], chat["messages"]) == ("<chat>as text", TALK)
    assert plain["prompt"] == "plain"
    assert "messages" not in plain


def test_in_openais_form_messages_are_answered_by_chat_completions(mill: Mill, out: Path) -> None:
    job = _written(
        mill,
        [PromptRow(position=0, prompt="as text", messages=TALK, n=2, custom_id="c"), "plain"],
        logprobs=lambda text: [{"token": "é", "logprob": -1.5, "top": {"é": -1.5, "bytes:\\xff": -2.0}}],
    )
    export_job(mill.database, job, out / "o.jsonl", format="openai")
    chat, plain = [json.loads(one)["response"]["body"] for one in (out / "o.jsonl").read_bytes().splitlines()]
    assert (chat["object"], chat["id"], plain["object"]) == ("chat.completion", f"chatcmpl-{job}-0", "text_completion")
    assert [choice["message"] for choice in chat["choices"]] == [
        {"role": "assistant", "content": f" text 0.{sample}", "refusal": None} for sample in (0, 1)
    ]
    assert "text" not in chat["choices"][0]
    assert chat["choices"][0]["logprobs"]["content"] == [
        {
            "token": "é", "logprob": -1.5, "bytes": [0xC3, 0xA9],
            "top_logprobs": [
                {"token": "é", "logprob": -1.5, "bytes": [0xC3, 0xA9]},
                {"token": "bytes:\\xff", "logprob": -2.0, "bytes": [0xFF]},
            ],
        }
    ]  # fmt: skip
    assert "message" not in plain["choices"][0]


def test_a_withheld_answer_is_an_empty_one(mill: Mill, out: Path) -> None:
    job = mill.submit([PromptRow(position=0, prompt="as text", messages=[USER], n=1)])
    mill.generate(lambda work, sample: " bad")
    mill.score()
    export_job(mill.database, job, out / "o.jsonl", format="openai", on_flag="redact")
    (choice,) = json.loads((out / "o.jsonl").read_bytes())["response"]["body"]["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "content_filter")


def _written(mill: Mill, rows: list[PromptRow | str], **how: Any) -> int:
    job = mill.submit(rows)
    mill.generate(**how)
    return job
