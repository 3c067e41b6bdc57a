"""The main job: 1,000 prompts of mixed settings, three outputs each, undisturbed and disturbed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from db.models import Output, Prompt, Score
from db.session.engine import open_database
from tests.acceptance.conftest import LONG, Home, write_prompts

PROMPTS, SAMPLES = 1000, 3
DEMO = ("--model", "demo", "--safety", "demo", "--seed", "11")
Key = tuple[str, int]


def texts_of(export: Path) -> dict[Key, tuple[str, int, float]]:
    """What an export says of each output that must not depend on anything but its row."""
    rows = [json.loads(line) for line in export.read_text().splitlines()]
    found = {(row["custom_id"], row["sample_index"]): (row["text"], row["seed"], row["mean_logprob"]) for row in rows}
    assert len(found) == len(rows), "an output stands twice in the export"
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home in which the prompts ran without any disturbance."""
    home = Home(tmp_path_factory.mktemp("undisturbed"))
    write_prompts(home.folder / "prompts.jsonl", PROMPTS, SAMPLES)
    home.inkmill("run", "prompts.jsonl", *DEMO, "-o", "out.jsonl")
    yield home
    home.close()


def assert_complete(url: str) -> None:
    """Exactly one scored output for each prompt and sample, in SQL itself."""
    database = open_database(url)
    with database.read() as connection:
        count = connection.execute(select(func.count()).select_from(Output)).scalar_one()
        pairs = select(Output.prompt_id, Output.sample_index).distinct().subquery()
        distinct = connection.execute(select(func.count()).select_from(pairs)).scalar_one()
        scores = connection.execute(select(func.count()).select_from(Score)).scalar_one()
        states = connection.scalars(select(Prompt.status).distinct()).all()
    database.close()
    assert (count, distinct, scores) == (PROMPTS * SAMPLES,) * 3
    assert states == ["done"]


@pytest.mark.slow
def test_a_large_run_leaves_exactly_one_scored_output_for_each_prompt_and_sample(undisturbed: Home) -> None:
    status = undisturbed.status()
    assert status["status"] == "completed"
    assert status["prompts"] == {"total": PROMPTS, "done": PROMPTS, "dead": 0, "cancelled": 0}
    assert status["outputs"]["total"] == status["outputs"]["scored"] == PROMPTS * SAMPLES
    assert_complete(f"sqlite:///{undisturbed.folder / 'inkmill.db'}")


@pytest.mark.slow
def test_the_export_agrees_with_the_database_row_for_row(undisturbed: Home) -> None:
    exported = [json.loads(line) for line in (undisturbed.folder / "out.jsonl").read_text().splitlines()]
    database = open_database(f"sqlite:///{undisturbed.folder / 'inkmill.db'}")
    query = (
        select(Output, Prompt.custom_id, Score.toxicity)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Score, Score.output_id == Output.id)
        .order_by(Prompt.position, Output.sample_index)
    )
    with database.read() as connection:
        stored = connection.execute(query.with_only_columns(
            Output.id, Prompt.custom_id, Output.sample_index, Output.text, Output.seed, Output.flagged, Score.toxicity
        )).all()  # fmt: skip
    database.close()
    names = ("id", "custom_id", "sample_index", "text", "seed", "flagged")
    assert len(exported) == len(stored)
    for line, row in zip(exported, stored, strict=True):
        assert (*(line[name] for name in names), line["scores"]["toxicity"]) == tuple(row)


@pytest.mark.slow
def test_the_settings_of_each_row_show_in_its_outputs(undisturbed: Home) -> None:
    rows = [json.loads(line) for line in (undisturbed.folder / "out.jsonl").read_text().splitlines()]
    asked = [json.loads(line) for line in (undisturbed.folder / "prompts.jsonl").read_text().splitlines()]
    by_id = {row["custom_id"]: row for row in asked}
    for row in rows:
        wanted = by_id[row["custom_id"]]
        assert row["settings"]["max_new_tokens"] == wanted["max_new_tokens"] >= row["tokens"]
        if "stop" in wanted:
            assert "." not in row["text"]
        for name in ("temperature", "top_k", "top_p", "min_p", "seed"):
            assert row["settings"][name] == wanted.get(name, row["settings"][name])


@pytest.mark.slow
def test_killed_workers_and_a_flushed_redis_change_neither_count_nor_texts(home: Home, undisturbed: Home) -> None:
    write_prompts(home.folder / "prompts.jsonl", PROMPTS, SAMPLES)
    run = home.start("run", "prompts.jsonl", *DEMO, "-o", "out.jsonl")
    home.until_submitted()
    for generated in (300, 800, 1500):
        home.until(lambda now, least=generated: now["outputs"]["generated"] >= least)  # type: ignore[misc]
        home.until(lambda _: home.kill_workers() >= 1)  # the one that was killed last may not have its successor yet
        assert home.status()["outputs"]["generated"] < PROMPTS * SAMPLES
        if generated == 800:
            home.redis().flushall()
    assert run.wait(280) == 0, home.logs()
    assert_complete(f"sqlite:///{home.folder / 'inkmill.db'}")
    assert texts_of(home.folder / "out.jsonl") == texts_of(undisturbed.folder / "out.jsonl")


@pytest.mark.slow
def test_two_workers_on_postgresql_and_a_stock_redis_write_the_same(
    home: Home, undisturbed: Home, postgres_url: str, stock_redis: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    redis = subprocess.Popen([stock_redis, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home.folder)])
    home.environment |= {"INKMILL_REDIS_URL": f"redis://127.0.0.1:{port}/0", "INKMILL_DATABASE_URL": postgres_url}
    try:
        write_prompts(home.folder / "prompts.jsonl", PROMPTS, SAMPLES)
        home.start("worker", "--model", "demo", "--safety", "demo")
        home.start("worker", "--model", "demo", "--safety", "demo")
        home.inkmill("submit", "prompts.jsonl", *DEMO)
        home.until(lambda now: now["outputs"]["generated"] >= 800)
        assert len(home.worker_children()) == 2
        home.worker_children()[0].kill()
        assert home.finished()["outputs"]["scored"] == PROMPTS * SAMPLES
        home.inkmill("export", "1", "-o", "out.jsonl")
        assert_complete(postgres_url)
        assert texts_of(home.folder / "out.jsonl") == texts_of(undisturbed.folder / "out.jsonl")
    finally:
        home.close()
        redis.terminate()
        redis.wait(10)


def test_stock_celery_tools_answer_and_show_the_running_task(home: Home) -> None:
    write_prompts(home.folder / "prompts.jsonl", 2 * LONG)
    home.inkmill("submit", "prompts.jsonl", *DEMO)
    home.start("worker", "--model", "demo", "--safety", "demo")
    home.until(lambda now: now["outputs"]["generated"] > 0)
    seen: dict[str, Any] = {}
    for _ in range(5):
        words = ["-A", "contract.queue", "inspect", "active", "--json", "--timeout", "5"]
        done = subprocess.run(
            [os.sys.executable, "-m", "celery", *words],  # type: ignore[attr-defined]
            env=home.env, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        seen = json.loads(done.stdout)
        if any(task["name"] == "inkmill.generate" for tasks in seen.values() for task in tasks):
            break
    names = {task["name"] for tasks in seen.values() for task in tasks}
    assert "inkmill.generate" in names, seen
    arguments = [task["args"] for tasks in seen.values() for task in tasks]
    assert all(len(args) == 1 and isinstance(args[0], int) for args in arguments), "a message holds an id alone"
