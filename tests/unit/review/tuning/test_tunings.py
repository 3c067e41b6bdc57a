"""The pages of tunings: the list, one with its curves, samples and notes, cancelling and retrying."""

from __future__ import annotations

import re
from typing import Any

import pytest

from contract.tunings.order import TuningOrder
from db.session.engine import Database
from db.tuning.claims import TuningClaim, claim_tuning, fail_tuning
from db.tuning.progress import Point, save_progress
from db.tuning.tunings import NewTuning, find_tuning, insert_tuning
from review.tuning.loss_chart import loss_chart
from tests.unit.review.site import Site

EVIL = "<b>once</b>\u202e"


def add(database: Database, name: str = "tales") -> int:
    order = TuningOrder(name=name, base="gpt2", learning_rate=1e-4).to_json()
    return insert_tuning(database, NewTuning(name=name, base="gpt2", order=order, folder=name))


def losses(kind: str, *values: float) -> list[Point]:
    return [Point(step=10 * number, kind=kind, values={"loss": value}) for number, value in enumerate(values, 1)]


def trained(database: Database, text: str = "upon a time") -> TuningClaim:
    """A tuning that runs, after three evaluations."""
    add(database)
    claim = claim_tuning(database, "w", "cpu", 60)
    assert claim is not None
    progress: dict[str, Any] = {
        "step": 30, "steps": 100, "epoch": 0.3, "loss": 3.1, "validation_loss": 3.5, "best_validation_loss": 3.4,
        "best_step": 20, "tokens_per_second": 1234.0, "left": [600, 700, 800],
        "notes": [{"step": 30, "text": f"validation rises while training falls {EVIL}"}],
    }  # fmt: skip
    samples = Point(step=20, kind="samples", values={"samples": [{"prompt": "Once", "text": text}]})
    points = [*losses("train", 4.0, 3.5, 3.1), *losses("validation", 3.9, 3.4, 3.5), samples]
    save_progress(database, claim, progress, points)
    return claim


def test_pages_without_a_tuning_say_what_to_do(one_database: Database) -> None:
    site = Site(one_database).sign_in()
    assert "inkmill tune corpus.txt" in site.get("/tunings").text
    for path in ("/tunings/1", "/tunings/1/events", "/tunings/0", "/tunings/" + "9" * 30):
        assert site.get(path).status_code == 404, path
    assert site.post("/tunings/1/cancel").status_code == 404


def test_one_tuning_shows_its_figures_its_curves_its_samples_and_its_notes(one_database: Database) -> None:
    trained(one_database, text=EVIL)
    site = Site(one_database).sign_in()
    page = site.get("/tunings/1").text
    said = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    for words in (
        "30 of 100",
        "3.100",
        "best 3.400 at step 20",
        "1,234",
        "10 to 13 min",
        "Step 20",
        "validation rises",
    ):
        assert words in said, words
    assert page.count("<polyline") == 2 and 'data-live="/tunings/1/events"' in page
    assert "<b>once</b>" not in page and "\u202e" not in page and "&lt;b&gt;once" in page
    assert "t1" in site.get("/tunings").text


def test_a_tuning_is_cancelled_and_retried_from_its_page(one_database: Database) -> None:
    claim = trained(one_database)
    site = Site(one_database).sign_in()
    fail_tuning(one_database, claim, "the process was killed")
    page = site.get("/tunings/1").text
    assert "the process was killed" in page and "data-over" in page and "data-live" not in page
    assert site.post("/tunings/1/retry").status_code == 303
    assert find_tuning(one_database, 1).status == "queued"
    assert site.post("/tunings/1/cancel").status_code == 303
    assert find_tuning(one_database, 1).status == "cancelled"
    site.post("/tunings/1/cancel")
    assert "already cancelled" in site.get("/tunings/1").text


def test_the_list_pages_back(one_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("review.tuning.pages.SHOWN", 2)
    for number in range(3):
        add(one_database, f"night-{number}")
    site = Site(one_database).sign_in()
    assert re.findall(r"night-\d", site.get("/tunings").text) == ["night-2", "night-1"]
    assert re.findall(r"night-\d", site.get("/tunings?before=2").text) == ["night-0"]


@pytest.mark.parametrize(
    ("train", "validation"),
    [((3.0,), ()), ((), (3.0,)), ((3.0, 3.0), (3.0, 3.0)), ((9.7, 4.2, 0.01), (11.3,)), ((1e-7, 2e-7), (1e-7,))],
)
def test_any_curves_have_a_chart_with_every_point_in_it(
    train: tuple[float, ...], validation: tuple[float, ...]
) -> None:
    chart = loss_chart(losses("train", *train), losses("validation", *validation), steps=0)
    places = re.findall(r"polyline points=\"([^\"]*)\"", chart.svg)
    for pair in " ".join(places).split():
        x, y = map(float, pair.split(","))
        assert 41 <= x <= 333 and 33 <= y <= 179, pair
    assert chart.rows
