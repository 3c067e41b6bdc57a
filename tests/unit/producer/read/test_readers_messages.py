"""Every bad line says where it stands, which field is wrong, what is wrong with it and what would be right."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from contract.errors import UsageError
from tests.unit.producer.conftest import Read

Reading = Callable[..., Read]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"promt": "a"}', "promt: is not a setting; did you mean prompt?"),
        ('{"prompt": "a", "temprature": 1}', "temprature: is not a setting; did you mean temperature?"),
        ('{"prompt": "a", "customid": 1}', "customid: is not a setting; did you mean custom_id?"),
        ('{"prompt": "a", "max_length": 9}', "max_length: is not used here because it would count the prompt"),
        ('{"prompt": "a", "author": "x"}', 'author: is not a field of a prompt; keep it inside "metadata"'),
        ('{"prompt": "a", "\\u001b[2J": 1}', "'\\x1b[2J': is not a field"),
        ('{"prompt": "a", "": 1}', "'': is not a field"),
        ('{"prompt": "a", "n": 0}', "n: must be from 1 to 1000, not 0"),
        ('{"prompt": "a", "n": "3"}', "n: must be a whole number, not '3'"),
        ('{"prompt": "a", "top_p": 0, "top_k": 1.5}', "top_p: must be above 0 and at most 1, not 0; top_k: must be"),
        ('{"prompt": "a", "max_tokens": 5, "length": 6}', "length: sets max_new_tokens a second time"),
        ('{"prompt": "a", "n": 2, "do_sample": false}', "n: is 2, but greedy decoding makes the same text"),
        ('{"prompt": "a", "stop": ["\\u0000"]}', "stop: contains the character U+0000"),
        ('{"prompt": "a", "seed": 9007199254740992}', "seed: must be from 0 to 9007199254740991"),
        ('{"prompt": "a", "prompt": "b"}', "prompt: appears twice in one object; keep one"),
        ('{"prompt": "a", "n" : 1, "n"\t:2}', "n: appears twice in one object"),
        ('{"prompt": "a", "metadata": {"a": [{"b": 1, "\\u0062": 2}]}}', "b: appears twice in one object"),
        ("{}", 'prompt: is missing; write "prompt": "" for an empty prompt'),
        ('{"prompt": null}', "prompt: must be text, not null"),
        ('{"prompt": ["a"]}', "prompt: must be text, not a list"),
        ('{"prompt": true}', "prompt: must be text, not true or false"),
        ('{"prompt": "a\\u0000b"}', "prompt: contains the character U+0000, which SQL databases cannot store"),
        ('{"prompt": "\\ud800"}', "has half of a surrogate pair at column"),
        ('{"prompt": "a", "custom_id": ""}', "custom_id: must have 1 to 512 characters, not 0"),
        ('{"prompt": "a", "custom_id": "%s"}' % ("x" * 513), "custom_id: must have 1 to 512 characters, not 513"),
        ('{"prompt": "a", "custom_id": 1.5}', "custom_id: must be text or a whole number, not a number"),
        ('{"prompt": "a", "custom_id": true}', "custom_id: must be text or a whole number, not true or false"),
        ('{"prompt": "a", "custom_id": "\\u0000"}', "custom_id: contains the character U+0000"),
        ('{"prompt": "a", "metadata": [1]}', "metadata: must be a JSON object, not a list"),
        ('{"prompt": "a", "metadata": {"a": [{"\\u0000": 1}]}}', "metadata: contains the character U+0000"),
        ('{"prompt": "a", "metadata": {"a": %s}}' % ("[" * 300 + "]" * 300), "metadata: is nested too deep"),
        ('{"prompt": "a", "stop": %s}' % ("[" * 999 + "]" * 999), "stop: is nested too deep"),
        ("[" * 5000, "is not JSON"),
        ('{"prompt": "a"', "is not JSON ("),
        ('{"prompt": "a"} {"prompt": "b"}', "each line must be one complete object"),
        ('{"prompt": NaN}', "is not JSON"),
        ('["a"]', "must be a JSON object such as"),
        ('"a"', 'must be a JSON object such as {"prompt": "Once"}, not text'),
        (b'{"prompt": "a\0"}', "has NUL bytes; it is damaged, or not a text file"),
        (b'{"prompt": "caf\xe9"}', "is not UTF-8 (byte 0xE9 at column 16); save the file as UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_line_is_reported_with_its_field_and_a_remedy(read: Reading, line: str | bytes, told: str) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    found = read(b'{"prompt": "good"}\n' + raw + b'\n{"prompt": "good too"}\n')
    assert found.told.startswith("line 2: ") and told in found.told, found.told
    assert found.raw == [raw]
    assert [row.prompt for row in found.rows] == ["good", "good too"]


@pytest.mark.parametrize("prompt", ['"a": "a": "a":', 'a\\": ":', '{"prompt": "x", "prompt" : "y"}'])
def test_a_text_that_looks_like_json_names_is_accepted(read: Reading, prompt: str) -> None:
    line = json.dumps({"prompt": prompt, "metadata": {"prompt": [prompt]}})
    assert read(line).rows[0].prompt == prompt


def test_a_backslash_before_u0000_is_plain_text(read: Reading) -> None:
    found = read(r'{"prompt": "\\u0000", "metadata": {"a": "\\u0000"}, "stop": "\\u0000"}')
    assert found.rows[0].prompt == r"\u0000" and found.rows[0].metadata == {"a": r"\u0000"}


def test_the_custom_id_of_a_refused_line_may_be_used_again(read: Reading) -> None:
    found = read(
        '{"custom_id": "a", "prompt": 1}\n{"custom_id": "a", "prompt": "x"}\n{"custom_id": "a", "prompt": "y"}'
    )
    assert [line.number for line in found.bad] == [1, 3]
    assert "'a' is already on line 2" in found.told


def test_a_number_and_a_text_with_the_same_digits_are_the_same_custom_id(read: Reading) -> None:
    assert "is already on line 1" in read('{"custom_id": 1, "prompt": ""}\n{"custom_id": "1", "prompt": ""}').told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{\n "prompt": "a"\n}\n', "has JSON objects over several lines; write one object per line, for example with"),
        ('{"prompt": "a"}'.encode("utf-32"), "is UTF-32, not UTF-8; save it as UTF-8"),
        ('{"prompt": "a"}'.encode("utf-16"), "is UTF-16, not UTF-8; save it as UTF-8"),
    ],
)
def test_a_file_of_the_wrong_kind_is_reported_once_not_line_by_line(read: Reading, data: bytes, told: str) -> None:
    for name in ("p.jsonl", "p"):
        with pytest.raises(UsageError) as error:
            read(data, name)
        assert f"{name}: {told}" in str(error.value)


def test_an_unreadable_line_of_text_is_reported_with_the_reason(read: Reading) -> None:
    found = read(b"good\n\xff\xfe\nbad\0\n", "p.txt")
    assert [row.prompt for row in found.rows] == ["good"]
    assert "line 2: is not UTF-8 (byte 0xFF at column 1)" in found.told
    assert "line 3: has NUL bytes" in found.told


def test_the_same_mistake_on_every_line_does_not_slow_the_report(read: Reading) -> None:
    found = read('{"prompt": "a", "temprature": 1}\n' * 50_000)
    assert len(found.bad) == 50_000
