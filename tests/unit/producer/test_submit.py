"""What tells one submission from another, and that no job is a mixture of two."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contract.errors import UsageError
from db.session.engine import Database
from producer.read.prompt_file import open_prompt_file
from producer.read.read_options import ReadOptions
from producer.submit import SubmitOptions, fingerprint, submit

ORDER = SubmitOptions(model="demo", default_model="gpt2", safety="demo")


def test_the_same_bytes_read_in_another_format_are_another_job(tmp_path: Path) -> None:
    found = set()
    for name in ("same.txt", "same.csv"):
        (tmp_path / name).write_text("prompt\nOnce\nTwice\n")
        with open_prompt_file(str(tmp_path / name), ReadOptions(form=name[-3:])) as file:
            found.add(fingerprint(ORDER, file))
    assert len(found) == 2


def test_what_changes_how_a_file_is_read_makes_another_job(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt,custom_id,text,ref,length\nOnce,1,Twice,2,5\n")
    options = [
        ReadOptions(), ReadOptions(prompt_column="text"), ReadOptions(id_column="ref"), ReadOptions(empty_prompts=True),
        ReadOptions(metadata_columns=("length",)), ReadOptions(delimiter=","),
    ]  # fmt: skip
    found = []
    for each in [*options, ReadOptions(form="csv")]:
        with open_prompt_file(str(path), each) as file:
            found.append(fingerprint(ORDER, file))
    assert len(set(found[:-1])) == len(options)
    assert found[-1] == found[0]  # the form that it has anyway


def test_how_bad_words_match_tells_jobs_apart_only_where_it_is_not_the_default(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Once\n")
    with open_prompt_file(str(tmp_path / "p.txt")) as file:
        plain, named, other = (
            fingerprint(replace(ORDER, flags={"bad_words": ("x",), **flags}), file)
            for flags in ({}, {"bad_words_match": "word"}, {"bad_words_match": "substring"})
        )
    assert plain == named != other


def write(path: Path, word: str, lines: int = 20_000) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:  # in place, as an editor or a shell's > does
        file.truncate(0)
        file.write(b"".join(b'{"prompt": "%s %0200d"}\n' % (word.encode(), number) for number in range(lines)))


def counts(database: Database) -> list[int]:
    with database.read() as connection:
        return [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() or 0
                for table in ("jobs", "batches", "prompts")]  # fmt: skip


def grow(path: Path) -> None:
    with path.open("a") as file:
        file.write('{"prompt": "more"}\n')


CHANGES: dict[str, Callable[[Path, int], object]] = {
    "rewritten": lambda path, rows: rows == 8192 and write(path, "new"),
    "rewritten and back": lambda path, rows: write(path, "new" if rows < 12_000 else "old"),
    "grown": lambda path, rows: rows == 8192 and grow(path),
    "cut off": lambda path, rows: rows == 8192 and os.truncate(path, 1000),
    "emptied": lambda path, rows: os.truncate(path, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_submitted_becomes_no_job(
    database: Database, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "p.jsonl"
    write(path, "old")
    order = replace(ORDER, allow_empty=True)
    with (
        open_prompt_file(str(path)) as file,
        pytest.raises(UsageError, match=r"p\.jsonl: was changed while it was being read"),
    ):
        submit(database, file, order, lambda rows: CHANGES[change](path, rows))
    assert counts(database) == [0, 0, 0]
    write(path, "old")
    with open_prompt_file(str(path)) as file:
        submit(database, file, order)
    assert counts(database)[0] == 1


@pytest.mark.parametrize("late", [True, False])
def test_a_file_that_changed_since_it_was_opened_becomes_no_job(database: Database, tmp_path: Path, late: bool) -> None:
    (tmp_path / "p.csv").write_text("prompt,n\na,2\n")
    with open_prompt_file(str(tmp_path / "p.csv")) as file:
        if late:
            fingerprint(ORDER, file)
        (tmp_path / "p.csv").write_text("n,prompt\n2,a\n")
        with pytest.raises(UsageError):
            submit(database, file, ORDER)
    assert counts(database) == [0, 0, 0]


def test_bad_lines_of_a_file_that_changed_are_not_written(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('oops\n{"prompt": "a"}\n')
    order = replace(ORDER, skip_bad=True)
    with open_prompt_file(str(path)) as file, pytest.raises(UsageError, match="was changed while it was being read"):
        submit(database, file, order, lambda rows: path.write_text('{"prompt": "b"}\n'))
    assert not (tmp_path / "p.bad.jsonl").exists()
    assert counts(database) == [0, 0, 0]


def test_if_a_file_is_replaced_while_it_is_submitted_the_old_one_is_submitted(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "p.jsonl"
    write(path, "old")
    write(tmp_path / "new", "new")

    def meddle(rows: int) -> None:
        if rows == 8192:
            (tmp_path / "new").rename(path)

    with open_prompt_file(str(path)) as file:
        submit(database, file, ORDER, meddle)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM prompts WHERE prompt LIKE 'old%%'").scalar() == 20_000


def test_a_file_that_grows_as_it_is_read_is_given_up_early(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a\n" * 5000)
    reached = []

    def append(rows: int) -> None:
        reached.append(rows)
        with path.open("a") as file:
            file.write("a\n" * 1_000_000)

    with open_prompt_file(str(path)) as file, pytest.raises(UsageError, match="was changed while it was being read"):
        submit(database, file, ORDER, append)
    assert reached == [0] and counts(database) == [0, 0, 0]
