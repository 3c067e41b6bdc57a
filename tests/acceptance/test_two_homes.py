"""Two homes on one database: what one of them cannot do takes nothing from the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.acceptance.conftest import LONG, Home, write_prompts

MODEL = "nobody/tales"
DEMO = Path(__file__).parents[2] / "worker" / "demo" / "gpt2"


@pytest.fixture
def stranger(home: Home, tmp_path: Path):  # type: ignore[no-untyped-def]
    """A second home on the first one's database. The first alone has the model in its cache."""
    other = Home(tmp_path / "other", {"INKMILL_DATABASE_URL": f"sqlite:///{home.folder / 'inkmill.db'}"})
    other.folder.mkdir()
    cached = home.folder / "hub" / "models--nobody--tales"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    shutil.copytree(DEMO, cached / "snapshots" / "abc")
    home.environment["HF_HUB_CACHE"] = str(home.folder / "hub")
    other.environment["HF_HUB_CACHE"] = str(other.folder / "hub")
    yield other
    other.close()


def test_a_stack_that_cannot_load_a_model_does_not_fail_the_job_that_another_home_runs(
    home: Home, stranger: Home
) -> None:
    for one in (home, stranger):
        write_prompts(one.folder / "p.jsonl", 4 * LONG)
    words = ("run", "p.jsonl", "--model", MODEL, "--safety", "demo")
    run = home.start(*words)
    home.until_submitted()
    home.until(lambda now: now["outputs"]["generated"] > 0)
    refused = stranger.inkmill(*words, code=4)
    assert "not in the local cache" in refused.stderr
    assert "job 1 is left alone, because other workers can run it" in refused.stderr
    assert home.status()["status"] == "running"
    assert run.wait(240) == 0
    assert home.status()["outputs"]["scored"] == 12 * LONG


def test_a_job_that_was_submitted_elsewhere_waits_for_a_worker_where_this_stack_cannot_load_it(
    home: Home, stranger: Home
) -> None:
    for one in (home, stranger):
        write_prompts(one.folder / "p.jsonl", 10)
    words = ("p.jsonl", "--model", MODEL, "--safety", "demo")
    home.inkmill("submit", *words)
    refused = stranger.inkmill("run", *words, code=4)
    assert "job 1 is left alone, because it was not submitted from this home" in refused.stderr
    assert home.status()["status"] == "queued"
    home.inkmill("run", *words)
    assert home.status()["status"] == "completed"
