"""Exports in CSV and Parquet as prompt files, in every variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.spec import PromptRow
from producer.export import export_job
from producer.read.own_output import NOTE
from producer.read.own_table import OF_OUTPUTS
from producer.write.table import COLUMNS
from tests.unit.producer.exports.conftest import Mill, mill, out
from tests.unit.producer.read.test_own_output import MIXED, Reading, prompts_of

__all__ = ["mill", "out"]  # fixtures

AWKWARD = [
    "=1+1", "'=1+1", "-5", "'", "nan", "NULL", "", ' "said" he', 'a\tb, "c"', "two\r\nlines\rand\nmore", "\ufefftext",
    "prompt", " blank", "ends in a blank ", "ünïcode ‮", ",,,", '"', "\n", "#N/A", "@cmd",
]  # fmt: skip
KEYS: dict[str, Any] = {"text": "t", "length": 9, "promt": "x", "=key": True, "n": None, "": 1.5, "Text": "T"}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("csv", {}),
    ("csv.gz", {}),
    ("csv", {"for_spreadsheets": True}),
    ("csv.gz", {"for_spreadsheets": True}),
    ("parquet", {}),
]


@pytest.mark.parametrize(("ending", "how"), VARIANTS)
@pytest.mark.parametrize("on_flag", ["keep", "redact"])
def test_a_table_can_be_submitted_again(
    mill: Mill, out: Path, read: Reading, ending: str, how: dict[str, Any], on_flag: str
) -> None:
    export_job(mill.database, mill.mixed(), out / f"o.{ending}", on_flag=on_flag, **how)
    for flags in ({}, {"n": 3}):
        found = read((out / f"o.{ending}").read_bytes(), f"p.{ending}", flags)
        assert prompts_of(found) == MIXED
        assert [(row.settings, row.n) for row in found.rows] == [(None, flags.get("n", 1))] * 3
    assert found.notes[0] == f"p.{ending} {NOTE}" and len(found.notes) == 1 + bool(how)


@pytest.mark.parametrize(("ending", "how"), VARIANTS)
@pytest.mark.parametrize("flat", [False, True])
def test_every_prompt_comes_back_as_it_was(
    mill: Mill, out: Path, read: Reading, ending: str, how: dict[str, Any], flat: bool
) -> None:
    rows = [
        PromptRow(position=i, prompt=prompt, n=2, custom_id=prompt[:1] + f"-{i}") for i, prompt in enumerate(AWKWARD)
    ]
    job = mill.submit(rows)
    mill.generate(lambda work, sample: work.prompt + '"\r\n,')
    export_job(mill.database, job, out / f"o.{ending}", flat=flat, **how)
    found = read((out / f"o.{ending}").read_bytes(), f"p.{ending}")
    assert prompts_of(found) == [(row.prompt, row.custom_id, None) for row in rows]


@pytest.mark.parametrize(("ending", "how"), VARIANTS)
def test_columns_of_metadata_are_metadata_again(
    mill: Mill, out: Path, read: Reading, ending: str, how: dict[str, Any]
) -> None:
    job = mill.submit([PromptRow(position=0, prompt="a", n=1, metadata=KEYS), "b"])
    mill.generate()
    export_job(mill.database, job, out / f"o.{ending}", flat=True, **how)
    found = read((out / f"o.{ending}").read_bytes(), f"p.{ending}")
    assert not found.bad, found.told
    assert [row.settings for row in found.rows] == [None, None]
    kept = {key: value for key, value in KEYS.items() if value is not None}
    as_text = {"length": "9", "=key": "true", "": "1.5"} if "csv" in ending else {}
    assert [row.metadata for row in found.rows] == [kept | as_text, None]


def test_what_was_added_to_a_table_counts(mill: Mill, out: Path, read: Reading) -> None:
    export_job(mill.database, mill.mixed(), out / "o.csv")
    header, *rows = (out / "o.csv").read_text().splitlines()
    added = "\n".join([header + ",max_new_tokens", *(row + ",9" for row in rows)])
    found = read(added, "p.csv")
    assert prompts_of(found) == MIXED and [row.settings for row in found.rows] == [{"max_new_tokens": 9}] * 3


def test_the_texts_of_a_table_can_be_prompts(mill: Mill, out: Path, read: Reading) -> None:
    export_job(mill.database, mill.mixed(), out / "o.csv")
    found = read(
        (out / "o.csv").read_bytes(), "p.csv", prompt_column="text", metadata_columns=("seed",), id_column="id"
    )
    assert [row.prompt for row in found.rows] == [" good 0", " bad 0", " good 1", " bad 1", " good 3"]


def test_another_column_of_a_table_can_be_the_id(mill: Mill, out: Path, read: Reading) -> None:
    export_job(mill.database, mill.mixed(), out / "o.csv")
    found = read((out / "o.csv").read_bytes(), "p.csv", id_column="seed")
    assert [row.prompt for row in found.rows] == ["Once", "Twice", ""]
    assert [row.custom_id for row in found.rows] == [str(2**53 - 1 - place) for place in (0, 1, 3)]


def test_joined_tables_are_told(mill: Mill, out: Path, read: Reading) -> None:
    export_job(mill.database, mill.mixed(), out / "o.csv", for_spreadsheets=True)
    export_job(mill.database, mill.mixed(), out / "p.csv")
    one, guarded = (out / "p.csv").read_bytes(), (out / "o.csv").read_bytes()
    for other in (one, guarded):
        assert "repeats the header" in read(one + other, "p.csv").told


def test_a_shuffled_table_doubles_no_prompt(mill: Mill, out: Path, read: Reading) -> None:
    export_job(mill.database, mill.mixed(), out / "o.csv")
    header, *rows = (out / "o.csv").read_text().splitlines()
    found = read("\n".join([header, *rows[2:], *rows[:2]]), "p.csv")
    assert "goes back" in found.told and [row.prompt for row in found.rows] == ["Twice", ""]


def test_every_column_is_known() -> None:
    assert OF_OUTPUTS | {"prompt", "messages", "custom_id", "metadata"} == set(COLUMNS)
