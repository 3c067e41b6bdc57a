"""Which names mean a model of one's own, in which version, and what stays the Hub's or a folder's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from contract.errors import ModelUnavailable, UsageError
from contract.model_kinds.own_model import (
    OwnModel,
    check_own_name,
    description,
    newest,
    own_model_folder,
    own_models,
    own_name_problem,
)
from contract.names import check_model, checked_model, folder_of_that_name, model_name, with_revision
from contract.settings import Settings
from worker.demo import GPT2_DIR
from worker.engine.load.checkpoint import find_checkpoint, in_folder


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of models: tales in three versions, of which the second was removed; and what is none."""
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("contract.model_kinds.own_model.settings", Settings)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "home" / "models"
    nothing = ("tales@1", "tales@03", "tales@x", ".tunings", "gpt2", "demo")
    for name in ("tales", "tales@3", "tales@10", "poems@2", *nothing):
        (folder / name).mkdir(parents=True)
    (folder / "notes.txt").touch()
    return folder


def test_a_bare_name_means_the_newest_version(store: Path) -> None:
    assert [str(model) for model in own_models()] == ["poems@2", "tales@1", "tales@3", "tales@10"]
    assert (newest("tales"), newest("songs")) == (OwnModel("tales", 10), None)
    assert [model_name(name) for name in ("tales", "tales@1", "tales@3", "poems")] == [
        "tales@10", "tales@1", "tales@3", "poems@2"
    ]  # fmt: skip
    assert [own_model_folder(name) for name in ("tales@1", "tales@10")] == [store / "tales", store / "tales@10"]


@pytest.mark.parametrize("name", ["gpt2", "demo", "songs", "someone/tales", "someone/tales@2", "gpt2@2", "songs@main"])
def test_any_other_name_stays_what_it_was(name: str) -> None:
    assert model_name(name) == name
    assert own_model_folder(name) is None


@pytest.mark.parametrize("version", ["2", "4", "main", "03", "x", ""])
def test_a_version_that_is_not_here_is_named_with_those_that_are(version: str) -> None:
    with pytest.raises(UsageError, match=r"has no version '.*'; there is tales@1, tales@3, tales@10 in "):
        model_name(f"tales@{version}")


def test_a_model_that_is_on_other_machines_only_is_told_as_that(store: Path) -> None:
    assert model_name("songs@1") == "songs@1"  # to be submitted for a worker that has it
    check_model("songs@1")
    for name in ("songs@1", "tales@2"):
        with pytest.raises(ModelUnavailable, match=f"{name} is a model of one's own, and INKMILL_MODELS"):
            own_model_folder(name)
    with pytest.raises(ModelUnavailable, match="has no folder songs"):
        checked_model("songs@1")


def test_what_a_store_has_is_looked_at_like_any_folder(store: Path) -> None:
    with pytest.raises(UsageError, match=r"lacks config\.json"):
        check_model("tales@3")
    shutil.copytree(GPT2_DIR, store / "tales@11")
    assert checked_model("tales") == "tales@11"


def test_a_model_is_read_from_the_store_and_what_tells_of_it_is_not_part_of_its_revision(store: Path) -> None:
    folder = Path(shutil.copytree(GPT2_DIR, store / "songs"))
    for told in ("README.md", "inkmill.json"):
        (folder / told).write_text("{}")
    found = find_checkpoint("songs@1", own_model_folder("songs@1"))
    assert (found.folder, found.revision()) == (folder, in_folder(GPT2_DIR).revision())


def test_a_store_that_is_not_there_has_no_models(store: Path) -> None:
    shutil.rmtree(store)
    assert (own_models(), model_name("tales")) == ([], "tales")


def test_a_revision_is_for_models_of_the_hub() -> None:
    with pytest.raises(UsageError, match="tales@10 is your own; leave it out, and name a version as --model tales@N"):
        with_revision(model_name("tales"), "main")
    with pytest.raises(UsageError, match="songs@2 would be a version of a model of your own"):
        with_revision("songs", "2")
    assert with_revision("gpt2", "2") == "gpt2@2"


def test_a_folder_called_like_a_model_is_noted(store: Path) -> None:
    shutil.copytree(GPT2_DIR, "tales")
    said = folder_of_that_name("tales@10")
    assert (
        said == "--model tales@10 is your own model of that name; for the folder of that name here give --model ./tales"
    )


@pytest.mark.parametrize("name", ["tales", "a", "My-2.tales_x", "7up", "gpt2-tales", "x" * 96])
def test_a_model_may_have_a_plain_name(name: str) -> None:
    assert own_name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("demo", "demonstration model"), ("gpt2", "a model of the Hub"), ("GPT2-XL", "a model of the Hub"),
        ("distilgpt2", "a model of the Hub"), ("me/tales", "a Hub id or a path"), ("./tales", "a Hub id or a path"),
        ("tales@2", "numbered by Inkmill"), ("", "no model's name"), (".tales", "no model's name"),
        ("-x", "no model's name"), ("two words", "no model's name"), ("tâles", "no model's name"),
        ("tales\n", "no model's name"), ("x" * 97, "no model's name"), ("a.gguf", "no model's name"),
    ],
)  # fmt: skip
def test_a_model_may_not_have_a_name_that_means_something_else(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"--name: .*{why}"):
        check_own_name(name)


@pytest.mark.parametrize(
    ("said", "told"), [(b'{"base": "gpt2"}', {"base": "gpt2"}), (b"[1]", {}), (b"{", {}), (None, {})]
)
def test_a_folder_tells_of_itself_as_far_as_it_can(store: Path, said: bytes | None, told: dict[str, str]) -> None:
    if said is not None:
        (store / "tales" / "inkmill.json").write_bytes(said)
    assert description(store / "tales") == told
