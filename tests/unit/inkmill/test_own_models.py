"""Models of one's own on the command line: submitted by name, listed, removed, and the way of a text back to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from contract.review import Action
from contract.settings import Settings
from db.jobs.jobs import cancel_job, get_job
from db.models import Output
from db.review.decisions.acts import decide
from db.session.engine import Database, open_database
from db.tuning.claims import claim_tuning
from db.tuning.models import NewModel, StoredModel, add_model, complete_tuning, list_models
from db.tuning.tunings import NewTuning, TuningSource, insert_tuning
from inkmill.cli import run
from tests.unit.inkmill.conftest import Told
from tests.unit.producer.exports.conftest import Mill
from worker.demo import GPT2_DIR

CORPUS = [{"name": "tales.txt", "sha256": "5d" * 32, "documents": 2, "tokens": 1234}]
Printed = Callable[..., Any]


@pytest.fixture
def database(folder: Path) -> Database:
    return open_database(Settings().sql_url)


@pytest.fixture
def printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> Printed:
    """Runs a command with --json. Returns what it printed."""

    def printing(*words: str) -> Any:
        assert run([*words, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return printing


def place(version: int, name: str = "tales") -> str:
    """A whole model in the store."""
    store = Settings().models_folder
    return str(shutil.copytree(GPT2_DIR, store / (name if version == 1 else f"{name}@{version}")))


def new(name: str = "tales", base: str | None = "demo", **said: Any) -> NewModel:
    return NewModel(name=name, base=base, base_revision="b" * 16, revision="r1", corpus=CORPUS, **said)


def tune(database: Database, model: NewModel, sources: list[TuningSource]) -> StoredModel:
    """A model that a tuning made of stored outputs."""
    insert_tuning(database, NewTuning(name=model.name, base=str(model.base), order={}, folder="/x"), sources)
    claim = claim_tuning(database, "w", "cpu", 60)
    assert claim
    return complete_tuning(database, claim, model, lambda version: place(version, model.name))


def written(database: Database, **spec: Any) -> list[int]:
    """The outputs of a job that is over."""
    mill = Mill(database, str(spec.get("model", "demo")))
    job = mill.submit(["one", "two"], **spec)
    mill.generate()
    mill.score()
    with database.read() as connection:
        return list(connection.scalars(select(Output.id).where(Output.job_id == job).order_by(Output.id)))


def test_a_job_names_the_version_that_was_the_newest_when_it_was_submitted(told: Told, database: Database) -> None:
    add_model(database, new(), place)
    said = told("submit", "p.jsonl", "--model", "tales", "--safety", "demo")
    assert "model tales@1" in said and "inkmill worker --model tales@1" in said
    add_model(database, new(), place)
    told("submit", "p.jsonl", "--model", "tales@1", "--safety", "demo", code=2)  # the same job
    told("submit", "p.jsonl", "--model", "tales", "--safety", "demo")  # another one
    assert [get_job(database, number).model for number in (1, 2)] == ["tales@1", "tales@2"]
    assert "has no version '3'; there is tales@1, tales@2" in told("submit", "p.jsonl", "--model", "tales@3", code=2)


def test_a_name_that_only_other_machines_have_is_noted(told: Told, database: Database) -> None:
    for _ in range(2):
        add_model(database, new(), lambda version: "/elsewhere")
    said = told("submit", "p.jsonl", "--model", "tales", "--safety", "demo")
    assert "note: --model tales is the Hub's model" in said and "give --model tales@2" in said
    assert "is the Hub's" not in told("submit", "p.jsonl", "--model", "tales@2", "--safety", "demo")
    assert get_job(database, 2).model == "tales@2"


def test_a_line_of_a_file_may_name_a_model_of_ones_own(told: Told, database: Database) -> None:
    add_model(database, new(), place)
    body = {"prompt": "Once", "model": "tales"}
    Path("r.jsonl").write_text(json.dumps({"custom_id": "1", "url": "/v1/completions", "body": body}))
    assert "wins over" not in told("submit", "r.jsonl", "--safety", "demo")
    assert get_job(database, 1).model == "tales@1"


def test_the_list_has_every_version_and_what_lies_in_the_store_alone(printed: Printed, database: Database) -> None:
    add_model(database, new(perplexity_before=40.5, perplexity_after=20.25), place)
    add_model(database, new(source="/x/checkpoint/run1", base=None), lambda version: "/elsewhere/tales@2")
    told = {"base": "gpt2", "corpus": CORPUS, "perplexity_after": 7, "settings": {"epochs": 3}}
    (Path(place(1, "poems")) / "inkmill.json").write_text(json.dumps(told))
    poems, first, second = printed("models")
    assert {"name": "tales", "version": 1, "base": "demo", "revision": "r1", "corpus": CORPUS}.items() <= first.items()
    assert (first["perplexity_before"], first["perplexity_after"], first["model"]) == (40.5, 20.25, "tales@1")
    assert first["created_at"].endswith("Z") and first["here"] and first["recorded"]
    assert (second["source"], second["base"], second["here"]) == ("/x/checkpoint/run1", None, False)
    assert second["folder"] == "/elsewhere/tales@2"
    assert (poems["model"], poems["base"], poems["revision"], poems["recorded"]) == ("poems@1", "gpt2", None, False)
    assert (poems["perplexity_after"], poems["corpus"]) == (7, CORPUS)
    assert printed("models", "show", "poems") == poems | {"settings": {"epochs": 3}}
    assert printed("models", "show", "tales")["version"] == 1  # as --model tales means it on this machine
    assert printed("models", "show", "tales@2")["version"] == 2


def test_a_folder_that_tells_nonsense_of_itself_is_listed_all_the_same(printed: Printed) -> None:
    told = {"base": 3, "corpus": ["x", {"name": "a.txt"}], "perplexity_after": "low", "settings": []}
    (Path(place(1)) / "inkmill.json").write_text(json.dumps(told))
    (only,) = printed("models")
    assert (only["base"], only["corpus"], only["perplexity_after"]) == (None, [{"name": "a.txt"}], None)


def test_the_list_and_a_model_are_told_for_people(
    told: Told, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no models of your own in " in told("models")
    add_model(database, new(perplexity_before=40.5, perplexity_after=20.25), place)
    assert run(["models"]) == 0
    assert "tales@1" in capsys.readouterr().out
    assert run(["models", "show", "tales"]) == 0
    said = capsys.readouterr().out
    assert "perplexity  20.25, 40.50 before" in said
    assert f"tales.txt: 2 documents, 1,234 tokens, sha256 {'5d' * 32}" in said
    assert "there is no model tales@7 of your own; there is tales@1" in told("models", "show", "tales@7", code=2)
    assert "there is no model poems of your own" in told("models", "show", "poems", code=2)


def test_removing_says_what_is_lost_and_needs_a_yes(told: Told, database: Database) -> None:
    for _ in range(2):
        add_model(database, new(), place)
    written(database, model="tales@2")
    said = told("models", "rm", "tales", code=2)
    assert "2 stored outputs were written with tales@2, and can no longer be made again without it" in said
    assert "tales@1 stays" in said and "models rm tales@2 --yes" in said
    store = Settings().models_folder
    assert sorted(path.name for path in store.iterdir()) == ["tales", "tales@2"]
    assert "removed tales@2" in told("models", "rm", "tales", "--yes")
    assert [path.name for path in store.iterdir()] == ["tales"]
    assert [str(model) for model in list_models(database)] == ["tales@1"]
    assert "0 stored outputs were written with tales@1" in told("models", "rm", "tales@1", "--yes")
    assert "there is no model tales" in told("models", "rm", "tales", "--yes", code=2)


def test_a_version_that_was_removed_is_never_given_again_even_where_only_its_folder_was_known(
    told: Told, printed: Printed, database: Database
) -> None:
    place(1)
    told("models", "rm", "tales", "--yes")
    assert printed("models") == []
    assert str(add_model(database, new(), place)) == "tales@2"


def test_a_model_that_a_job_or_a_tuning_needs_is_not_removed(told: Told, database: Database) -> None:
    folder = add_model(database, new(), place).folder
    told("submit", "p.jsonl", "--model", "tales", "--safety", "demo")
    insert_tuning(database, NewTuning(name="more", base="tales@1", order={}, folder="/x"))
    said = told("models", "rm", "tales", "--yes", code=2)
    assert "job 1, tuning t1 need tales@1 and are not over; nothing was removed" in said
    cancel_job(database, 1)
    assert "tuning t1 needs tales@1 and is not over" in told("models", "rm", "tales", "--yes", code=2)
    assert Path(folder, "config.json").exists()


def test_a_model_that_a_job_comes_to_need_while_it_is_asked_for_stays(
    told: Told, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = add_model(database, new(), place).folder

    def submitted_meanwhile(*_: object, **__: object) -> bool:
        Mill(database).submit(["one"], model="tales@1")
        return True

    monkeypatch.setattr("inkmill.own_models.removal.confirm_removal", submitted_meanwhile)
    assert "job 1 needs tales@1" in told("models", "rm", "tales", code=2)
    assert Path(folder, "config.json").exists()
    assert [str(model) for model in list_models(database)] == ["tales@1"]


def test_a_text_leads_back_to_its_corpus_and_the_decisions_in_it(
    printed: Printed, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = written(database)
    decision = decide(database, second, "ann", Action.APPROVE)
    tune(database, new(), [TuningSource(output_id=second, decision_id=decision.id), TuningSource(output_id=first)])
    text, _ = written(database, model="tales@1")
    found = printed("lineage", str(text))
    assert (found["output"]["id"], found["output"]["job"], found["output"]["model"]) == (text, 2, "tales@1")
    assert (found["model"]["model"], found["model"]["tuning"], found["corpus"]) == ("tales@1", "t1", CORPUS)
    assert (found["base"], found["ancestors"]) == ({"model": "demo", "revision": "b" * 16}, [])
    untouched, approved = found["outputs"]
    assert (untouched["output"], untouched["decision"]) == (first, None)
    assert (approved["output"], approved["job"], approved["model"], approved["revision"]) == (second, 1, "demo", 0)
    assert (approved["decision"]["decision"], approved["decision"]["by"]) == ("approve", "ann")
    assert run(["lineage", str(text)]) == 0
    said = capsys.readouterr().out
    assert "taught      2 stored outputs" in said and "approved by ann" in said and "5d" * 32 in said


def test_the_way_back_goes_on_through_bases_and_through_what_was_removed(
    told: Told, printed: Printed, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = written(database)
    tune(database, new(), [TuningSource(output_id=first)])
    add_model(database, new("more", "tales@1"), lambda version: place(version, "more"))
    text, _ = written(database, model="more@1")
    told("models", "rm", "tales", "--yes")
    found = printed("lineage", str(text))
    assert (found["model"]["model"], found["base"]["model"], found["outputs"]) == ("more@1", "tales@1", [])
    (before,) = found["ancestors"]
    assert (before["model"]["model"], before["model"]["here"], before["base"]["model"]) == ("tales@1", False, "demo")
    assert [learned["output"] for learned in before["outputs"]] == [first]
    assert run(["lineage", str(text)]) == 0
    assert "tales@1, the base of more@1\n  note        its folder is not on this machine" in capsys.readouterr().out


def test_a_text_of_files_that_have_changed_since_says_so(
    told: Told, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    add_model(database, NewModel(name="tales", base="demo", base_revision=None, revision="r0"), place)
    text, _ = written(database, model="tales@1")
    assert run(["lineage", str(text)]) == 0
    assert "the files of tales@1 have changed: recorded is revision r0" in capsys.readouterr().out


def test_a_text_of_a_model_of_others_leads_no_further(
    told: Told, printed: Printed, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    text, _ = written(database)
    found = printed("lineage", str(text))
    assert (found["model"]["name"], found["base"], found["corpus"], found["outputs"]) == ("demo", None, [], [])
    assert run(["lineage", str(text)]) == 0
    assert "no model of your own" in capsys.readouterr().out
    assert "there is no output 99" in told("lineage", "99", code=2)
