"""Two outputs side by side: what counts as the same, what is named, and how it reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contract.spec import IN_GROUPS, Provenance, SamplingSettings
from db.results.reproduction import OutputRecord
from inkmill.output_comparison import (
    NUMERICS_CAUSES,
    PROVENANCE,
    OutputComparison,
    as_json,
    as_lines,
    compare,
    provenance_changes,
)
from worker.engine.sequence import Completion, Fault

MADE_BY = Provenance(
    model="demo", revision="r1", engine="stub 1", torch="2.13.0", device="cpu", isa="AVX512 avx512_bf16", dtype="fp32",
    threads=2, processor="A CPU", onednn="3.12.0", variables="", numerics="0123456789abcdef",
)  # fmt: skip
RECORD = OutputRecord(
    id=17, job_id=1, prompt="Once", chat=False, settings=SamplingSettings(), seed=5,
    text=" upon a time, there was a mill", finish_reason="length", tokens=9, mean_logprob=-1.5, made_by=MADE_BY,
)  # fmt: skip
AGAIN = Completion(17, RECORD.text, "length", 9, 1, -1.5, None)


def compared(here: Provenance = MADE_BY, **changes: Any) -> OutputComparison:
    return compare(RECORD, replace(AGAIN, **changes), here)


def test_an_output_that_comes_out_as_it_was_is_the_same_and_nothing_differs() -> None:
    assert compared().same
    assert compared().differs == ()
    assert list(as_lines(compared())) == ["output 17: the same"]


@pytest.mark.parametrize("change", [{"text": " upon a day"}, {"finish_reason": "stop"}, {"tokens": 8}])
def test_text_finish_reason_and_tokens_each_decide(change: dict[str, Any]) -> None:
    found = compared(**change)
    assert not found.same
    assert [difference.what for difference in found.differs] == list(change)


def test_the_mean_log_probability_is_told_and_does_not_decide() -> None:
    found = compared(mean_logprob=-1.25)
    assert found.same
    assert as_json(found)["mean_logprob"] == {"stored": -1.5, "here": -1.25}
    assert "mean_logprob" in list(as_lines(compared(mean_logprob=-1.25, tokens=8)))[-1]


def test_of_a_text_that_was_written_in_a_group_is_said_what_was_not_promised() -> None:
    record = replace(RECORD, made_by=replace(MADE_BY, engine=IN_GROUPS))
    differing = compare(record, replace(AGAIN, text=" upon a day"), record.made_by)
    (said,) = (line for line in as_lines(differing) if "company" in line)
    assert said == (
        "  company        written in a group with others; that a text comes out the same in any company was tried when "
        "the model was loaded, and is not built in"
    )
    assert len(list(as_lines(compare(record, AGAIN, record.made_by)))) == 1


@pytest.mark.parametrize("name", PROVENANCE)
def test_whatever_made_it_is_named_where_it_is_another_and_does_not_decide(name: str) -> None:
    found = compared(replace(MADE_BY, **{name: "other"}))
    assert found.same
    (said,) = as_json(found)["differs"]
    assert said == {"what": name, "stored": getattr(MADE_BY, name), "here": "other"}


@pytest.mark.parametrize("name", NUMERICS_CAUSES)
def test_what_may_explain_other_numerics_is_told_with_them_and_only_then(name: str) -> None:
    changed = replace(MADE_BY, **{name: 7 if name == "threads" else "other"})
    assert compared(changed).differs == ()
    found = compared(replace(changed, numerics="fedcba9876543210"))
    assert [difference.what for difference in found.differs] == ["numerics", name]


def test_what_an_earlier_version_did_not_record_is_no_difference() -> None:
    before = replace(RECORD, made_by=replace(MADE_BY, isa="AVX512", threads=0, processor="", onednn="", numerics=""))
    assert compare(before, AGAIN, MADE_BY).differs == ()


def test_the_place_where_two_texts_part_is_counted_in_characters() -> None:
    for text, at in ((" upon a day", 8), ("", 0), (" upon", 5), (RECORD.text + "!", len(RECORD.text))):
        (difference,) = compared(text=text).differs
        assert difference.at == at, text


def test_people_see_both_texts_around_the_place_where_they_part() -> None:
    found = compared(text=RECORD.text.replace("there was a mill", "there\nwas no mill"))
    assert list(as_lines(found)) == [
        "output 17: different",
        "  text           the same up to character 19",
        "                 stored  ' upon a time, there was a mill'",
        "                 here    ' upon a time, there\\nwas no mill'",
        "  the same here: revision, engine, torch, device, isa, dtype, numerics",
        "  mean_logprob   stored -1.5000, here -1.5000",
    ]


def test_texts_that_have_no_beginning_in_common_are_said_to_differ_from_the_start() -> None:
    assert list(as_lines(compared(text="Not so")))[1] == "  text           different from the first character"


def test_long_texts_are_cut_around_that_place_and_cannot_steer_a_terminal() -> None:
    before, after = "a" * 500, "b" * 500
    record = replace(RECORD, text=f"{before}\x1b[2J{after}")
    lines = list(as_lines(compare(record, replace(AGAIN, text=f"{before}\x9b{after}"), MADE_BY)))
    assert f"…'{'a' * 20}\\x1b[2J{'b' * 16}'…" in lines[2]
    assert f"…'{'a' * 20}\\x9b{'b' * 19}'…" in lines[3]
    assert all(line.isprintable() for line in lines)


def test_a_prompt_that_cannot_be_written_on_any_more_is_different_with_the_reason() -> None:
    found = compare(RECORD, Fault(17, "the prompt has 9 tokens", certain=True), MADE_BY)
    assert not found.same
    assert found.differs == ()
    assert as_json(found)["fault"] == "the prompt has 9 tokens"
    assert as_json(found)["mean_logprob"]["here"] is None
    assert "  no text was generated: the prompt has 9 tokens" in list(as_lines(found))


def test_an_output_without_a_stored_log_probability_is_compared_too() -> None:
    found = compare(replace(RECORD, mean_logprob=None), replace(AGAIN, tokens=8), MADE_BY)
    assert [difference.what for difference in found.differs] == ["tokens"]
    assert not any("logprob" in line for line in as_lines(found))


def test_what_changed_for_many_outputs_is_said_once_with_their_number() -> None:
    elsewhere = replace(MADE_BY, torch="2.14.0", isa="")
    found = [compared(elsewhere), compared(elsewhere, tokens=8), compared()]
    assert list(provenance_changes(found)) == [
        "  torch          stored 2.13.0, here 2.14.0 (2 outputs)",
        "  isa            stored AVX512 avx512_bf16, here nothing (2 outputs)",
    ]
