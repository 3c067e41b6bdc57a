"""Our own output as input: exports and their files of dead prompts are prompt files too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.errors import UsageError
from contract.spec import PromptRow
from db.jobs.jobs import cancel_job
from producer.export import export_job
from producer.read.own_output import NOTE, OF_LOST, OF_OUTPUTS
from tests.unit.producer.conftest import Read
from tests.unit.producer.exports.conftest import Mill, mill, out

__all__ = ["mill", "out"]  # fixtures
Reading = Callable[..., Read]


def prompts_of(found: Read) -> list[tuple[str, str | None, dict[str, Any] | None]]:
    assert not found.bad, found.told
    return [(row.prompt, row.custom_id, row.metadata) for row in found.rows]


MIXED = [("Once", "r-1", {"topic": "sea", "deep": {"a": [1, None]}}), ("Twice", None, None), ("", None, None)]


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json"])
@pytest.mark.parametrize("on_flag", ["keep", "redact"])
def test_an_export_can_be_submitted_again(mill: Mill, out: Path, read: Reading, ending: str, on_flag: str) -> None:
    job = mill.mixed()
    export_job(mill.database, job, out / f"o.{ending}", on_flag=on_flag)
    for flags in ({}, {"n": 3}):
        found = read((out / f"o.{ending}").read_bytes(), f"p.{ending}", flags)
        assert prompts_of(found) == MIXED
        assert [(row.settings, row.n) for row in found.rows] == [(None, flags.get("n", 1))] * 3
    assert found.notes == [f"p.{ending} {NOTE}"]


def test_an_export_of_some_outputs_has_their_prompts(mill: Mill, out: Path, read: Reading) -> None:
    job = mill.mixed()
    export_job(mill.database, job, out / "o.jsonl", only=["flagged"])
    assert prompts_of(read((out / "o.jsonl").read_bytes())) == MIXED[:2]


def test_dead_and_cancelled_prompts_can_be_submitted_again(mill: Mill, out: Path, read: Reading) -> None:
    rows = [PromptRow(position=0, prompt="a", n=1, custom_id="007", metadata={"k": 1}, settings={"seed": 1}), "b", "c"]
    job = mill.submit(rows, batch_size=1)
    mill.generate(dead={0: "too long"}, batches=2)
    cancel_job(mill.database, job)
    export_job(mill.database, job, out / "o.jsonl")
    found = read((out / "o.jsonl.errors.jsonl").read_bytes())
    assert prompts_of(found) == [("a", "007", {"k": 1}), ("c", None, None)]
    assert len(found.notes) == 1


def test_a_file_of_one_prompt_is_read_as_often_as_it_takes(mill: Mill, out: Path, read: Reading) -> None:
    job = mill.submit(["a"])
    mill.generate()
    export_job(mill.database, job, out / "o.jsonl")
    assert prompts_of(read((out / "o.jsonl").read_bytes())) == [("a", None, None)]


def test_what_was_added_to_an_export_counts(mill: Mill, out: Path, read: Reading) -> None:
    export_job(mill.database, mill.mixed(), out / "o.jsonl")
    changed = [json.loads(line) | {"max_new_tokens": 9} for line in (out / "o.jsonl").read_bytes().splitlines()]
    new = {"prompt": "new", "temperature": 0.5}
    found = read("\n".join(map(json.dumps, [*changed, new])))
    assert [row.settings for row in found.rows] == [{"max_new_tokens": 9}] * 3 + [{"temperature": 0.5}]
    odd = read("\n".join(map(json.dumps, [changed[0] | {"temprature": 1}, changed[-1]])))
    assert "temprature: is not a setting; did you mean temperature?" in odd.told and len(odd.rows) == 1


def test_the_fields_of_an_output_are_no_fields_of_a_prompt_elsewhere(read: Reading) -> None:
    found = read('{"prompt": "a", "job": 1, "position": 2}\n')
    assert not found.rows and "job: is not a field of a prompt" in found.told


def test_results_in_openais_form_say_where_the_prompts_are(mill: Mill, out: Path, read: Reading) -> None:
    export_job(mill.database, mill.mixed(), out / "o.jsonl", format="openai")
    for name in ("o.jsonl", "o.jsonl.errors.jsonl"):
        with pytest.raises(UsageError, match=r"p\.jsonl: holds results in OpenAI's form.*as JSON lines"):
            read((out / name).read_bytes())


def test_every_field_of_an_export_is_known(mill: Mill, out: Path) -> None:
    from contract.spec import SamplingSettings

    job = mill.submit(["a", "b"], on_flag="redact", settings=SamplingSettings(logprobs=1, on_too_long="shorten"))
    mill.generate(dead={1: "x"})
    export_job(mill.database, job, out / "o.jsonl")
    kept, of_own_models = {"prompt", "custom_id", "metadata"}, {"copied_tokens"}
    assert json.loads((out / "o.jsonl").read_bytes()).keys() - kept == OF_OUTPUTS - of_own_models
    assert json.loads((out / "o.jsonl.errors.jsonl").read_bytes()).keys() - kept == OF_LOST


def test_an_export_that_was_shuffled_doubles_no_prompt(read: Reading) -> None:
    line = {"job": 1, "prompt": "p", "id": 1, "sample_index": 0, "text": "t"}
    found = read("".join(json.dumps(line | {"position": at, "prompt": f"p{at}"}) + "\n" for at in (0, 1, 0)), "p.jsonl")
    assert [row.prompt for row in found.rows] == ["p0", "p1"] and "goes back" in found.told
