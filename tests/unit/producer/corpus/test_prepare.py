"""Corpora of every form, and what becomes of their documents."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import producer.corpus.fates as fates
import producer.corpus.prepare as preparing
from contract.errors import BadCorpus, InkmillError, UsageError
from contract.tunings.prepared_corpus import DESCRIPTION, PreparedCorpus
from producer.corpus.order import CorpusPath, PrepareOptions
from producer.corpus.prepare import prepare_corpus
from tests.examples import examples
from tests.unit.producer.corpus.conftest import END, Prepared, jsonl

Prepare = Callable[..., Prepared]
TALES = ["The sea was calm.", "Nobody at the harbour slept.", "  A lamp, a rope.\nAnd rain.", "Ümlaute, 海 and 🌊."]
MOMENTS = (
    "prepare.divide", "prepare.PartFiles", "prepare.DocumentEncoder", "prepare.write_description",
    "tokens.part_files.os.fsync", "corpus_folder.json.dump", "corpus_folder.os.replace",
)  # fmt: skip
MANY = [f"Tale {number} of the sea." for number in range(200)]


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def as_workbook(rows: list[dict[str, str]]) -> bytes:
    workbook, file = openpyxl.Workbook(), io.BytesIO()
    for row in [list(rows[0]), *(list(row.values()) for row in rows)]:
        workbook.active.append(row)
    workbook.save(file)
    return file.getvalue()


ROWS = [{"text": tale, "n": "many", "max_length": "7"} for tale in TALES]
FORMS: dict[str, str | bytes] = {
    "t.txt": f"\n{END}\n".join(TALES),
    "t.jsonl": jsonl(ROWS),
    "t.json": json.dumps(ROWS, indent=1),
    "t.csv": as_csv(ROWS),
    "semicolons.csv": as_csv(ROWS, ";"),
    "t.tsv": as_csv(ROWS, "\t"),
    "t.parquet": as_parquet(ROWS),
    "t.xlsx": as_workbook(ROWS),
    "t.txt.gz": gzip.compress(END.join(TALES).encode()),
    "t.jsonl.zst": zstandard.ZstdCompressor().compress(jsonl(ROWS).encode()),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_documents_of_every_form_are_the_same(prepare: Prepare, name: str) -> None:
    prepared = prepare({name: FORMS[name]}, validation=0.0)
    assert prepared.train == TALES
    assert prepared.corpus.train.loss is None
    assert prepared.described["files"][0]["documents"] == len(TALES)
    assert prepared.described["files"][0]["tokens"] == len(prepared.corpus.train.tokens)


def test_the_column_of_the_texts_can_be_named(prepare: Prepare) -> None:
    rows = [{"text": "no", "body": tale} for tale in TALES]
    assert prepare({"t.csv": as_csv(rows)}, text_column="body", validation=0.0).train == TALES


def test_a_single_column_needs_no_name(prepare: Prepare) -> None:
    assert prepare({"t.csv": as_csv([{"tale": tale} for tale in TALES])}, validation=0.0).train == TALES


def test_columns_without_texts_are_named_with_the_way_out(prepare: Prepare) -> None:
    rows = [{"title": "a", "body": "b"}]
    with pytest.raises(UsageError, match=r"t\.csv: .*--text-column NAME says which.*Columns: title, body"):
        prepare({"t.csv": as_csv(rows)})
    with pytest.raises(UsageError, match=r"no column is named 'bodi', which --text-column names. Columns: title, body"):
        prepare({"t.csv": as_csv(rows)}, text_column="bodi")
    with pytest.raises(BadCorpus, match=r"line 1: has neither a text, .*Columns: title, body"):
        prepare({"t.jsonl": jsonl(rows)})


def test_other_fields_are_nobodys_business(prepare: Prepare) -> None:
    rows = '{"text": "One.", "seed": "x", "id": 12345678901234567890123, "id": 1, "custom_ids": []}\n'
    assert prepare({"t.jsonl": rows}, validation=0.0).train == ["One."]


def test_documents_end_at_end_of_text_in_rows_too(prepare: Prepare) -> None:
    rows = [{"text": f"One.{END}"}, {"text": f"Two.\n{END}\nThree.{END}"}]
    prepared = prepare({"t.jsonl": jsonl(rows)}, validation=0.0)
    assert prepared.train == ["One.", "Two.", "Three."]
    assert prepared.corpus.train.documents[:, 2].tolist() == [1, 2, 2]


def test_a_completion_is_learned_and_its_prompt_is_read(prepare: Prepare) -> None:
    rows = [
        {"prompt": "A river?", "completion": " The Elbe."},
        {"text": "All of it."},
        {"prompt": "", "completion": "x"},
    ]
    prepared = prepare({"t.jsonl": jsonl(rows)}, validation=0.0)
    assert prepared.train == ["A river? The Elbe.", "All of it.", "x"]
    assert prepared.learned == [" The Elbe.", "All of it.", "x"]
    rows = [{"prompt": "A river?", "completion": " The Elbe."}]
    learned = prepare({"u.jsonl": jsonl(rows)}, validation=0.0, train_on_prompts=True)
    assert learned.corpus.train.loss is None and learned.train == ["A river? The Elbe."]


def test_a_prompt_has_the_tokens_that_it_has_alone(prepare: Prepare) -> None:
    prepared = prepare({"t.jsonl": jsonl([{"prompt": "The sea and the har", "completion": "bour"}])}, validation=0.0)
    encode = prepared.tokenizer.encode
    expected = [*encode("The sea and the har").ids, *encode("bour").ids, prepared.corpus.end_of_text]
    assert prepared.corpus.train.tokens.tolist() == expected


def test_duplicates_and_empty_documents_are_dropped_and_counted(prepare: Prepare) -> None:
    rows = [{"text": text} for text in ["One.", "", " \n", "Two.", "One."]] + [{"text": None}]
    prepared = prepare({"t.jsonl": jsonl(rows), "u.txt": "Two."}, validation=0.0)
    assert prepared.train == ["One.", "Two."]
    assert (prepared.corpus.duplicates, prepared.corpus.empty) == (2, 3)
    assert [file["documents"] for file in prepared.described["files"]] == [2, 0]
    assert "3 empty, 2 the same as another" in "\n".join(prepared.heard.notes)


def test_the_same_prompt_with_another_completion_is_another_document(prepare: Prepare) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "c"}, {"prompt": "ab", "completion": "c"}]
    assert len(prepare({"t.jsonl": jsonl(rows)}, validation=0.0).train) == 3


def test_no_document_stands_on_both_sides(prepare: Prepare) -> None:
    first = prepare({"t.jsonl": jsonl([{"text": text} for text in MANY])}, validation=0.2)
    assert sorted(first.train + first.validation) == sorted(MANY)
    assert 20 <= len(first.validation) <= 60
    again = prepare({"u.txt": END.join(reversed(MANY))}, validation=0.2)
    assert set(again.validation) == set(first.validation)  # wherever a text stands, and in whatever form


def test_a_file_of_its_own_can_be_held_back(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "held.txt").write_text(f"Held back.{END}{MANY[3]}")
    prepared = prepare(END.join(MANY), validation_files=(str(tmp_path / "held.txt"),))
    assert prepared.validation == ["Held back.", MANY[3]]
    assert prepared.train == MANY[:3] + MANY[4:]  # what is held back is not trained with
    assert prepared.corpus.duplicates == 1


def test_few_documents_hold_one_back(prepare: Prepare) -> None:
    prepared = prepare({"t.jsonl": jsonl([{"text": tale} for tale in TALES])}, validation=0.01)
    assert len(prepared.validation) == 1 and len(prepared.train) == 3


def test_the_end_of_a_single_document_is_held_back(prepare: Prepare) -> None:
    text = "\n".join(MANY)
    prepared = prepare(text, validation=0.1)
    assert prepared.train[0] + prepared.validation[0] == text
    assert prepared.train[0].endswith("\n") and 0.08 < len(prepared.validation[0]) / len(text) < 0.12
    assert "1 long document: the end of each is held back" in "\n".join(prepared.heard.notes)


def test_long_documents_give_their_ends_and_short_ones_go_by_their_hashes(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fates, "LONG", 1000)
    book = " ".join(MANY)
    prepared = prepare({"t.jsonl": jsonl([{"text": text} for text in [book, *MANY]])}, validation=0.1)
    assert prepared.train[0] + prepared.validation[0] == book
    assert sorted(prepared.train[1:] + prepared.validation[1:]) == sorted(MANY)


def test_a_single_short_row_is_trained_with_and_nothing_is_held_back(prepare: Prepare) -> None:
    prepared = prepare({"t.jsonl": jsonl([{"prompt": "a", "completion": "b"}])})
    assert prepared.train == ["ab"] and not prepared.validation
    assert "too small to hold anything back" in "\n".join(prepared.heard.notes)
    assert prepare("x").train == ["x"]


@pytest.mark.parametrize("text", ["", " \n ", f"\n{END}\n{END}"])
def test_a_corpus_without_texts_is_refused_with_its_reason(prepare: Prepare, text: str) -> None:
    with pytest.raises(UsageError, match=r"no text to train with \(\d+ empty, 0 the same"):
        prepare(text)


def test_bad_lines_are_named_or_left_out(prepare: Prepare) -> None:
    lines = '{"text": "One."}\nnonsense\n{"text": 5}\n{"text": "Two."}\n[1]\n'
    with pytest.raises(BadCorpus) as caught:
        prepare({"t.jsonl": lines})
    told = str(caught.value)
    assert told.startswith("t.jsonl: 3 problems; nothing was prepared\n  line 2: is not JSON")
    assert "line 3: text: must be text, not a number" in told and told.endswith("leave them out with --skip-bad.")
    prepared = prepare({"t.jsonl": lines}, skip_bad=True, validation=0.0)
    assert prepared.train == ["One.", "Two."] and prepared.described["bad_lines"] == 3
    assert "t.jsonl: 3 bad lines left out\n  line 2:" in "\n".join(prepared.heard.notes)


def test_what_cannot_be_a_corpus_is_refused_by_name(prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder; name the files in it, for example .*\*\.txt"):
        prepare({}, CorpusPath(str(tmp_path)))
    with pytest.raises(UsageError, match="no such file"):
        prepare({}, CorpusPath(str(tmp_path / "absent.txt")))
    with pytest.raises(UsageError, match="is a PDF document, not a corpus; save its text"):
        prepare({"a.txt": b"%PDF-1.4 ..."})
    with pytest.raises(UsageError, match=r"is named \.txt, but it looks like JSON; say --form jsonl"):
        prepare({"a.txt": jsonl(ROWS)})
    with pytest.raises(UsageError, match="holds requests to OpenAI's API"):
        prepare({"a.jsonl": '{"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "x"}}\n'})
    with pytest.raises(UsageError, match=r"--paragraphs: .* is read as jsonl"):
        prepare({"a.jsonl": jsonl(ROWS)}, paragraphs=True)


def test_a_row_may_be_a_book(prepare: Prepare) -> None:
    book = "The sea was calm. " * 60_000
    prepared = prepare({"t.jsonl": jsonl([{"text": book}])}, validation=0.0)
    assert prepared.train == [book]


def test_a_corpus_that_changes_while_it_is_read_is_refused(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def divide_and_write(*arguments: Any) -> Any:
        (tmp_path / "corpus.txt").write_text("Two.")
        return fates.divide(*arguments)

    monkeypatch.setattr(preparing, "divide", divide_and_write)
    with pytest.raises(UsageError, match=r"corpus\.txt: was changed while it was being read"):
        prepare("One.")
    assert not (tmp_path / "prepared" / DESCRIPTION).exists()


def test_a_second_preparation_replaces_the_first(prepare: Prepare) -> None:
    prepare({"t.jsonl": jsonl([{"prompt": "a", "completion": "b"}])})
    prepared = prepare({"t.txt": "Other."}, validation=0.0)
    assert prepared.train == ["Other."] and prepared.corpus.train.loss is None


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_preparation_that_was_killed_leaves_nothing_that_counts(tmp_path: Path, moment: str) -> None:
    (tmp_path / "corpus.jsonl").write_text(jsonl([{"prompt": "a", "completion": text} for text in MANY]))
    asked = [CorpusPath(str(tmp_path / "corpus.jsonl"))], "demo", tmp_path / "prepared", PrepareOptions(validation=0.0)
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"producer.corpus.{moment}", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            prepare_corpus(*asked)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    with pytest.raises(UsageError, match="did not finish"):
        PreparedCorpus.open(tmp_path / "prepared")
    corpus = prepare_corpus(*asked)
    assert len(corpus.train.documents) == len(MANY)
    assert sorted(path.name for path in corpus.folder.iterdir()) == [
        "corpus.json", "train.documents", "train.loss", "train.tokens", "validation.documents", "validation.tokens",
    ]  # fmt: skip


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("One.")
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "train.tokens").symlink_to("/dev/full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "clear", lambda folder: None)
        with pytest.raises(InkmillError, match=r"cannot be written \(No space left on device\); make room"):
            prepare_corpus([CorpusPath(str(tmp_path / "corpus.txt"))], "demo", tmp_path / "prepared")


def test_progress_is_told_in_characters(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "REPORT_CHARACTERS", 10_000)
    text = "\n".join(str(number) for number in range(30_000))
    prepared = prepare(text)
    reading = [done for stage, done, total in prepared.heard.stages if stage == "reading" and total is None]
    tokenising = [(done, total) for stage, done, total in prepared.heard.stages if stage == "tokenising"]
    assert reading == sorted(reading) and reading
    assert all(total == len(text) and done <= total for done, total in tokenising) and tokenising


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r<"), max_size=12), max_size=12),
    st.sampled_from([0.0, 0.05, 0.5]),
)
@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_text_is_in_one_part_once(prepare: Prepare, texts: list[str], share: float) -> None:
    wanted = {text for text in texts if text.strip()}
    if not wanted:
        return
    prepared = prepare({"t.jsonl": jsonl([{"text": text} for text in texts])}, validation=share)
    if len(wanted) == 1 and share:
        assert "".join(prepared.train + prepared.validation) == next(iter(wanted))
    else:
        assert sorted(prepared.train + prepared.validation) == sorted(wanted)
        assert bool(prepared.validation) == (share > 0 and any(2 * len(t) <= sum(map(len, wanted)) for t in wanted))
