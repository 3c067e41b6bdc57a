"""Numbers keep their digits on the way in, or are refused by line."""

from __future__ import annotations

import json
from collections.abc import Callable

import orjson
import pytest

from contract.errors import UsageError
from inkmill.commands.options import read_flags
from tests.unit.producer.conftest import Read
from tests.unit.producer.read.test_tables import parquet

Reading = Callable[..., Read]

LOST = [
    "123456789012345678901234", "-9223372036854775809", "18446744073709551616", "0.12345678901234567890",
    "9007199254740993.0", "1e-400", "12345678901234567890.5",
]  # fmt: skip
KEPT = ["18446744073709551615", "-9223372036854775808", "0.1", "0.30000000000000004", "1e22", "1.50", "5e-324", "-0.0"]


@pytest.mark.parametrize("digits", LOST)
@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"prompt": "a", "custom_id": %s}', "custom_id"),
        ('{"prompt": "a", "seed": %s}', "seed"),
        ('{"prompt": "a", "temperature": %s}', "temperature"),
        ('{"prompt": "a", "logit_bias": {"5": %s}}', "logit_bias.5"),
        ('{"prompt": "a", "metadata": {"order": [{"number": %s}]}}', "metadata.order.number"),
    ],
)
def test_a_number_that_would_lose_digits_is_a_bad_line(read: Reading, line: str, field: str, digits: str) -> None:
    found = read(line % digits + '\n{"prompt": "b"}\n')
    assert found.told.startswith(f"line 1: {field}: is {digits}, a number with more digits than are kept; write it as")
    assert [row.prompt for row in found.rows] == ["b"]


@pytest.mark.parametrize("digits", KEPT)
def test_a_number_that_keeps_its_digits_comes_in_as_it_is(read: Reading, digits: str) -> None:
    (row,) = read(f'{{"prompt": "a", "metadata": {{"x": {digits}}}}}').rows
    assert json.loads(orjson.dumps(row.metadata)) == {"x": json.loads(digits)}


def test_digits_in_a_text_are_text(read: Reading) -> None:
    (row,) = read(f'{{"prompt": "{LOST[0]}", "custom_id": "{LOST[0]}", "metadata": {{"{LOST[0]}": "{LOST[3]}"}}}}').rows
    assert (row.prompt, row.custom_id, row.metadata) == (LOST[0], LOST[0], {LOST[0]: LOST[3]})


def test_cells_keep_their_digits_or_are_refused(read: Reading) -> None:
    found = read(
        f"prompt,custom_id,seed,stop,metadata,order\na,{LOST[0]},,{LOST[0]},,{LOST[0]}\nb,,9007199254740990.5,,,\n"
        f'c,,,,"{{""x"": {LOST[0]}}}",\nd,,,,"{{""x"": 1, ""x"": 2}}",\n',
        "p.csv",
    )
    (row,) = found.rows
    assert (row.custom_id, row.settings, row.metadata) == (LOST[0], {"stop": [LOST[0]]}, {"order": LOST[0]})
    assert "line 3: seed: is 9007199254740990.5, a number with more digits" in found.told
    assert f"line 4: metadata.x: is {LOST[0]}, a number with more digits" in found.told
    assert "line 5: x: appears twice in one object" in found.told


def test_a_custom_id_that_became_a_decimal_number_is_exact_or_refused(read: Reading) -> None:
    found = read(parquet({"prompt": ["a", "b"], "custom_id": [2.0**53, 2.0**60]}), "p.parquet")
    assert [row.custom_id for row in found.rows] == [str(2**53)]
    assert found.told == "line 2: custom_id: is a decimal number too large to be exact; write it as text"


def test_a_flag_keeps_the_digits_of_its_numbers_or_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--logit-bias: 5 is 0\.12345678901234567890, a number with more digits"):
        read_flags({"logit_bias": '{"5": 0.12345678901234567890}'})
    assert read_flags({"logit_bias": '{"5": 0.1}'}) == {"logit_bias": ((5, 0.1),)}


def test_a_double_spelt_with_17_digits_loses_nothing(read: Reading) -> None:
    found = read('{"prompt": "a", "metadata": {"x": 0.10000000000000001}}\n', "p.jsonl")
    assert [row.metadata for row in found.rows] == [{"x": 0.1}]
