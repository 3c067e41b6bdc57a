"""The pages of jobs, workers, charts and advice, over real databases."""

from __future__ import annotations

import json
import re
import threading
import time
from html import unescape
from itertools import count

import pytest

from contract.failures import FailureCode
from contract.review import Action, Filter
from contract.spec import JobStatus, SamplingSettings
from db.jobs.jobs import get_job
from db.jobs.status import snapshot
from db.record import acts_on
from db.review.claims import next_output
from db.review.decisions.acts import decide, undo
from db.session.engine import Database
from db.work.outputs import record_fault
from db.work.workers import register_worker
from review import reflagging
from review.pages import advice
from review.pages import job as job_pages
from review.reflagging import ReflagRun
from tests.browser.stock import Piece, stock
from tests.unit.db.mill import Mill
from tests.unit.review.site import Site, words_of

EVIL = "<b>night</b>\u202e\x07.jsonl"


TOO_LONG = FailureCode.TOO_LONG


def _dead(mill: Mill, reasons: list[str], codes: list[FailureCode] | None = None) -> int:
    """A job that is over, with a dead prompt for each reason."""
    job = mill.submit(len(reasons) + 1, batch_size=len(reasons) + 1)
    claim = mill.claim()
    codes = codes or [FailureCode.ENGINE_ERROR] * len(reasons)
    for (work, _), reason, code in zip(mill.missing(claim), reasons, codes, strict=False):
        record_fault(mill.database, claim, work.prompt_id, reason, number=1, certain=True, code=code)
    mill.finish(claim)
    mill.finish_texts(mill.claim_texts())
    return job


def test_pages_without_a_job_say_what_to_do(one_database: Database) -> None:
    site = Site(one_database).sign_in()
    assert "inkmill run" in site.get("/jobs").text
    assert "inkmill worker" in site.get("/workers").text
    for path in ("/jobs/1", "/jobs/1/charts", "/jobs/1/advice", "/jobs/1/events", "/jobs/0", "/jobs/" + "9" * 30):
        assert site.get(path).status_code == 404, path
    assert site.post("/jobs/1/retry").status_code == 404


def test_the_list_shows_every_job_and_pages_back(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_pages, "SHOWN", 2)
    for number in range(5):
        mill.submit(1, name=f"night-{number}.jsonl")
    site = Site(mill.database).sign_in()
    first = site.get("/jobs").text
    assert re.findall(r"night-\d", first) == ["night-4", "night-3"]
    second = site.get("/jobs?before=4").text
    assert re.findall(r"night-\d", second) == ["night-2", "night-1"]
    assert "No older jobs" in site.get("/jobs?before=1").text


def test_hostile_names_are_text(mill: Mill) -> None:
    mill.submit(1, name=EVIL)
    site = Site(mill.database).sign_in()
    for path in ("/jobs", "/jobs/1", "/jobs/1/charts", "/jobs/1/advice"):
        page = site.get(path).text
        assert "<b>night" not in page and "\u202e" not in page and "\x07" not in page, path
        assert "&lt;b&gt;night&lt;/b&gt;" in page, path


def test_one_job_says_how_it_stands(mill: Mill) -> None:
    job = mill.submit(4)
    mill.finish(mill.claim())
    said = words_of(Site(mill.database).sign_in().get(f"/jobs/{job}").text)
    assert "running" in said
    assert "2 of 4" in said
    assert "unknown while waiting" in said
    mill.claim()
    assert "not enough progress lately to estimate" in words_of(Site(mill.database).sign_in().get(f"/jobs/{job}").text)


def test_failures_are_grouped_by_code_and_one_is_retried_alone(mill: Mill) -> None:
    job = _dead(mill, ["too <long>", "too <longer>", "bad luck"], [TOO_LONG, TOO_LONG, FailureCode.KILLED_WORKER])
    site = Site(mill.database).sign_in()
    page = site.get(f"/jobs/{job}").text
    assert re.findall(r'name="code" value="([^"]*)"', page) == ["too-long", "killed-worker"]
    assert "too &lt;long&gt;" in page and "prompt 1" in page and "Retry all failed prompts" in page
    answer = site.post(f"/jobs/{job}/retry", {"code": "too-long", "on_too_long": "truncate-left"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job}")
    assert "2 prompts queued again" in site.get(f"/jobs/{job}").text
    now = snapshot(mill.database, job)
    assert (now.status, now.dead, now.failures) == ("queued", 1, {"bad luck": 1})
    assert [prompt.settings for prompt in mill.prompts(job)][:3] == [{"on_too_long": "truncate-left"}] * 2 + [None]


def test_a_retry_is_offered_only_where_it_can_help(mill: Mill) -> None:
    job = _dead(mill, ["half a character", "too long"], [FailureCode.BAD_PROMPT, TOO_LONG])
    page = Site(mill.database).sign_in().get(f"/jobs/{job}").text
    assert re.findall(r'name="code" value="([^"]*)"', page) == ["too-long"]
    assert "Retry all failed prompts" not in page


def test_failed_prompts_can_be_downloaded(mill: Mill) -> None:
    job = _dead(mill, ["too long", "bad luck"], [TOO_LONG, FailureCode.KILLED_WORKER])
    site = Site(mill.database).sign_in()
    page = site.get(f"/jobs/{job}").text
    found: dict[str, list[str]] = {}
    for address in map(unescape, re.findall(rf'href="(/jobs/{job}/failed[^"]*)"', page)):
        answer = site.get(address)
        assert answer.headers["content-disposition"].startswith('attachment; filename="job-')
        found[address.rpartition("=")[2]] = [json.loads(line)["reason"] for line in answer.text.splitlines()]
    everything = found.pop(f"/jobs/{job}/failed.jsonl")
    assert found == {"too-long": ["too long"], "killed-worker": ["bad luck"]}
    assert everything == ["too long", "bad luck"]
    assert site.get(f"/jobs/{job}/failed.jsonl?code=nonsense").status_code == 400
    assert Site(mill.database).browser.get(f"/jobs/{job}/failed.jsonl").status_code != 200


def test_a_retry_needs_a_job_that_is_over_and_a_form_of_ours(mill: Mill) -> None:
    job = _dead(mill, ["bad luck"])
    site = Site(mill.database).sign_in()
    assert site.browser.post(f"/jobs/{job}/retry", data={"csrf": "wrong"}).status_code == 403
    assert site.get(f"/jobs/{job}/retry").status_code in (404, 405)
    assert snapshot(mill.database, job).dead == 1
    assert site.post(f"/jobs/{job}/retry").status_code == 303
    assert snapshot(mill.database, job).dead == 0
    refused = site.post(f"/jobs/{job}/retry")
    assert refused.status_code == 400 and "only a job that is over can be retried" in refused.text


def _first_event(site: Site, path: str) -> str:
    """What a stream says first; the stream ends because the server does."""
    answer = site.get(path)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return "\n".join(line.removeprefix("data: ") for line in answer.text.split("\n\n")[0].splitlines())


def test_a_stream_sends_the_parts_of_its_page(mill: Mill) -> None:
    job = mill.submit(4)
    register_worker(mill.database, "w1", host="quill", pid=7, state="ready", model="demo", revision="r" * 40,
                    dtype="fp32", device="cuda:0", classifiers=["demo"])  # fmt: skip
    site = Site(mill.database, closing=lambda: True).sign_in()
    for page, path in (
        (f"/jobs/{job}", f"/jobs/{job}/events"),
        ("/jobs", "/jobs/events"),
        ("/workers", "/workers/events"),
    ):
        parts = set(re.findall(r'data-part="(\w+)"', _first_event(site, path)))
        assert parts and parts == set(re.findall(r'data-part="(\w+)"', site.get(page).text)), path
    assert "quill" in _first_event(site, "/workers/events")


def test_many_who_follow_a_job_cost_one_look(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    job = mill.submit(4)
    looks = count()
    real = job_pages.job_overview
    monkeypatch.setattr(job_pages, "JOB_SECONDS", 20.0)
    monkeypatch.setattr(job_pages, "job_overview", lambda *asked: (next(looks), real(*asked))[1])
    site = Site(mill.database, closing=lambda: True).sign_in()
    for _ in range(10):
        _first_event(site, f"/jobs/{job}/events")
    assert next(looks) == 1


def test_workers_show_their_state_device_and_error(mill: Mill) -> None:
    for name, state, error in (("w1", "ready", None), ("w2", "failed", "no <such> model")):
        register_worker(mill.database, name, host=f"host-{name}", pid=7, state=state, model="gpt2", revision=None,
                 dtype="bf16", device="cuda:1", classifiers=["original"], error=error)  # fmt: skip
    page = Site(mill.database).sign_in().get("/workers").text
    said = words_of(page)
    assert "GPU cuda:1" in said and "ready" in said and "failed" in said
    assert "no &lt;such&gt; model" in page
    assert said.index("host-w1") < said.index("Past workers") < said.index("host-w2")


def test_a_job_and_its_worker_say_why_texts_are_written_one_at_a_time(mill: Mill) -> None:
    job = mill.submit(4)
    said = "one text at a time, because its <layers> are run twice"
    site = Site(mill.database).sign_in()
    assert said not in words_of(site.get(f"/jobs/{job}").text)
    for name, model, why in (("w1", "gpt2", "of another model"), ("w2", "demo", "its <layers> are run twice")):
        register_worker(mill.database, name, host="quill", pid=7, state="ready", model=model, dtype="fp32",
                        device="cpu", engine="inkmill-fallback 2", classifiers=["demo"], why_fallback=why)  # fmt: skip
    for page in (f"/jobs/{job}", "/workers"):
        assert said in unescape(words_of(site.get(page).text))
    assert "of another model" not in site.get(f"/jobs/{job}").text


PIECES = tuple(Piece(f" text {i}", toxicity) for i, toxicity in enumerate((0.02, 0.1, 0.32, 0.33, 0.72, 0.74, 0.91)))


def test_a_bar_leads_to_as_many_outputs_as_it_stands_for(database: Database) -> None:
    stock(database, PIECES)
    site = Site(database).sign_in()
    page = site.get("/jobs/1/charts").text
    links = dict(re.findall(r'<td class="right"><a href="([^"]*)">([\d,]+)</a>', page))
    toxicity = {unescape(link): int(number) for link, number in links.items() if "label=toxicity" in link}
    assert sum(toxicity.values()) == len(PIECES)
    for link, number in toxicity.items():
        bulk = site.get(link.replace("/queue?", "/bulk?")).text
        assert len(set(re.findall(r'href="/outputs/(\d+)', bulk))) == number, link


def test_charts_of_a_job_without_texts_say_so(mill: Mill) -> None:
    mill.submit(2)
    assert "No charts yet" in Site(mill.database).sign_in().get("/jobs/1/charts").text


def test_charts_follow_what_changes(database: Database) -> None:
    stock(database, PIECES)
    site = Site(database).sign_in()
    assert "threshold 0.7" in site.get("/jobs/1/charts").text
    site.post("/jobs/1/advice", {"label": "toxicity", "threshold": "0.5", "current": "0.7"})
    assert "threshold 0.5" in site.get("/jobs/1/charts").text


def test_recall_is_unknown_until_an_unflagged_text_was_decided(database: Database) -> None:
    outputs = stock(database, PIECES)
    for output in outputs[4:]:
        decide(database, output, "mara", Action.REJECT)
    site = Site(database).sign_in()
    said = words_of(site.get("/jobs/1/advice").text)
    assert "Precision 100" in said and "Recall unknown" in said and "--audit-share" in said
    drawn = next(found for _ in range(200) if (found := next_output(database, "mara", Filter(), audit_share=0.9)))
    decide(database, drawn, "mara", Action.APPROVE)
    said = words_of(site.get("/jobs/1/advice").text)
    assert "Recall too few 1 audited, " in said and "1 sampled from 4 others" in said
    assert re.search(r"flagged decided: \d+ % to 100 % of unfit texts are flagged", said.replace("&nbsp;", " "))
    undo(database, "mara", drawn)
    assert "Recall unknown" in words_of(site.get("/jobs/1/advice").text)


def test_applying_a_threshold_flags_anew_and_keeps_the_others(database: Database) -> None:
    stock(database, PIECES)
    site = Site(database).sign_in()
    answer = site.post("/jobs/1/advice", {"label": "toxicity", "threshold": "0.3", "current": "0.7"})
    assert answer.headers["location"] == "/jobs/1/advice?label=toxicity"
    assert "5 outputs are flagged now; 2 changed" in site.get("/jobs/1/advice").text
    assert get_job(database, 1).thresholds == {"toxicity": 0.3}
    assert snapshot(database, 1).flagged == 5
    site.post("/jobs/1/advice", {"label": "insult", "threshold": "0.9", "current": "0.7"})
    assert get_job(database, 1).thresholds == {"toxicity": 0.3, "insult": 0.9}


def test_a_page_that_is_out_of_date_applies_nothing(site: Site) -> None:
    for fields, said in (
        ({"label": "toxicity", "threshold": "0.3", "current": "0.5"}, "is now 0.7"),
        ({"label": "toxicity", "threshold": "1.5", "current": "0.7"}, "from 0 to 1"),
        ({"label": "toxicity", "threshold": "nan", "current": "0.7"}, "from 0 to 1"),
        ({"label": "rudeness", "threshold": "0.5", "current": "0.7"}, "is not a label"),
    ):
        answer = site.post("/jobs/1/advice", fields)
        assert answer.status_code == 400 and said in words_of(answer.text), fields
    assert get_job(site.database, 1).thresholds == {}


def test_two_reflags_of_a_job_at_once_are_refused(site: Site) -> None:
    site.services.reflags._runs[1] = ReflagRun("toxicity", 0.4)
    answer = site.post("/jobs/1/advice", {"label": "toxicity", "threshold": "0.3", "current": "0.7"})
    assert answer.status_code == 400 and "already" in answer.text
    assert "Reflagging is in progress" in site.get("/jobs/1/advice").text


def test_a_reflag_that_takes_long_goes_on_behind_the_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    real = reflagging.reflag_job
    monkeypatch.setattr(advice, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(reflagging, "reflag_job", lambda *job, **policy: go_on.wait(30) and real(*job, **policy))
    site.post("/jobs/1/advice", {"label": "toxicity", "threshold": "0.05", "current": "0.7"})
    assert "is in progress" in site.get("/jobs/1/advice").text
    assert snapshot(site.database, 1).flagged == 3
    go_on.set()
    run = site.services.reflags.last(1)
    assert run is not None
    deadline = time.monotonic() + 30
    while not run.finished and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run.result is not None and snapshot(site.database, 1).flagged == 4
    assert "Reflagging is in progress" not in site.get("/jobs/1/advice").text


def test_what_a_threshold_adds_and_drops_is_one_click_away(database: Database) -> None:
    stock(database, PIECES)
    site = Site(database).sign_in()
    page = site.get("/jobs/1/advice?label=toxicity&at=0.33").text
    adds = {
        unescape(link): number
        for link, number in re.findall(r'href="([^"]*)" aria-label="(\d+)(?: more)? outputs', page)
    }
    assert adds["/queue?job=1&state=unflagged&label=toxicity&low=0.3&high=0.7"] == "2"
    assert adds["/queue?job=1&state=unflagged&label=toxicity&low=0.33&high=0.7"] == "1"
    assert adds["/queue?job=1&state=flagged&label=toxicity&low=0.7&high=0.75"] == "2"
    for link, number in adds.items():
        bulk = site.get(link.replace("/queue?", "/bulk?")).text
        assert len(set(re.findall(r'href="/outputs/(\d+)', bulk))) == int(number), link


def test_advice_for_a_job_that_nobody_scores_says_so(mill: Mill) -> None:
    job = mill.submit(2, safety="none")
    mill.work_off()
    page = Site(mill.database).sign_in().get(f"/jobs/{job}/advice").text
    assert "No scores, no advice" in page


def test_jobs_of_one_file_are_told_apart_and_can_be_paused(mill: Mill) -> None:
    for temperature in (0.5, 0.9):
        mill.submit(1, name="night.jsonl", settings=SamplingSettings(temperature=temperature))
    mill.submit(1, name="other.jsonl")
    site = Site(mill.database).sign_in()
    said = words_of(site.get("/jobs").text)
    assert "night.jsonl temperature 0.5" in said and "night.jsonl temperature 0.9" in said
    assert said.count("Pause job") == 3
    answer = site.post("/jobs/1/pause", {"back": "/jobs"})
    assert answer.headers["location"] == "/jobs" and get_job(mill.database, 1).status is JobStatus.PAUSED
    said = words_of(site.get("/jobs").text)
    assert "Job 1 is paused" in said and "Resume job 1" in said and "Pause job 1" not in said
    assert "Resume job 1" in words_of(site.get("/jobs/1").text)
    assert [act.who for act in acts_on(mill.database, 1) if act.what == "pause"] == ["mara"]
    site.post("/jobs/1/pause")
    assert "already paused" in words_of(site.get("/jobs/1").text)
    site.post("/jobs/1/resume")
    assert get_job(mill.database, 1).status is JobStatus.QUEUED
    assert site.post("/jobs/99/pause").status_code == 404
    assert site.post("/jobs/1/pause", {"back": "https://example.com"}).headers["location"].startswith("/")
