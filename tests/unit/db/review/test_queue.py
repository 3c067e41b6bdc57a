"""Pages of the queue: every order and filter, forwards and backwards, while others decide, and along an index."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import text as sql

from contract.errors import UsageError
from contract.review import Filter, Order, State, StateFilter
from db.jobs.reflag import reflag_job
from db.review import view_of_everything
from db.review.claims import claim_output
from db.review.decisions.acts import decide
from db.review.queue import count_matching, matching_versions, neighbour, read_page
from db.review.view_of_everything import ViewOfEverything
from db.review.view_of_reviews import ViewOfReviews
from tests.unit.db.desk import PENDING, Desk


def ids(desk: Desk, wanted: Filter, **how: Any) -> list[int]:
    return [row.output_id for row in read_page(desk.database, wanted, **how).rows]


def walk(desk: Desk, wanted: Filter, limit: int) -> list[int]:
    """All of a view, page by page to its end, and back again the same."""
    there: list[int] = []
    cursor: str | None = None
    pages = []
    while True:
        page = read_page(desk.database, wanted, cursor=cursor, limit=limit)
        pages.append([row.output_id for row in page.rows])
        there += pages[-1]
        if page.next is None:
            break
        cursor = page.next
    back = []
    cursor = page.previous
    while cursor is not None:
        page = read_page(desk.database, wanted, cursor=cursor, limit=limit)
        back.append([row.output_id for row in page.rows])
        cursor = page.previous
    assert back[::-1] == pages[:-1]
    return there


def test_the_highest_score_comes_first_and_texts_without_one_last(desk: Desk) -> None:
    outputs = desk.outputs_of([0.8, 0.1, 0.95, 0.7, 0.95])
    lost = desk.unscored()
    order = [outputs[4], outputs[2], outputs[0], outputs[3], lost]
    assert ids(desk, PENDING) == order
    assert walk(desk, PENDING, 2) == order
    assert ids(desk, Filter(job=desk.look(lost).job_id)) == [lost]
    assert desk.look(lost).top_score is None


@pytest.mark.parametrize("order", list(Order))
def test_every_order_is_walked_whole_in_both_directions(desk: Desk, order: Order) -> None:
    drawn = random.Random(1)
    outputs = desk.outputs_of([{"toxicity": round(drawn.random(), 1), "insult": 0.9} for _ in range(40)])
    wanted = Filter(order=order, label="toxicity")
    there = walk(desk, wanted, 7)
    assert sorted(there) == outputs
    assert there == [output for output, _ in matching_versions(desk.database, wanted)]
    assert walk(desk, Filter(order=order, label="toxicity", job=desk.look(outputs[0]).job_id), 13) == there


def test_by_a_label_the_nearest_to_the_jobs_threshold_comes_first(desk: Desk) -> None:
    strict = desk.outputs_of([{"toxicity": 0.5, "insult": 1}, {"toxicity": 0.13, "insult": 1}],
                             thresholds={"toxicity": 0.2})  # fmt: skip
    plain = desk.outputs_of([{"toxicity": 0.75}, {"insult": 0.9}, {"toxicity": 0.6, "insult": 0.9}])
    wanted = Filter(order=Order.LABEL, label="toxicity")
    assert ids(desk, wanted) == [plain[0], strict[1], plain[2], strict[0], plain[1]]


def test_the_random_order_is_the_same_at_every_look(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9] * 50)
    first = ids(desk, Filter(order=Order.RANDOM))
    assert first != outputs and sorted(first) == outputs
    assert ids(desk, Filter(order=Order.RANDOM)) == first


def test_a_page_goes_on_where_it_was_while_others_decide(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9 - i / 100 for i in range(10)])
    page = read_page(desk.database, PENDING, limit=4)
    for output in outputs[:5]:
        decide(desk.database, output, "ben", "approve")
    assert ids(desk, PENDING, cursor=page.next, limit=3) == outputs[5:8]


def test_filters_take_what_they_say(desk: Desk) -> None:
    a = desk.outputs_of([{"toxicity": 0.9, "insult": 0.2}, {"toxicity": 0.71}, 0.3, 0.05], blocklist=("zebra",),
                        texts=["one", "two", "a zebra", "four"])  # fmt: skip
    b = desk.outputs_of([0.85], model="demo")
    job = desk.look(a[0]).job_id
    decide(desk.database, a[0], "anna", "approve")
    decide(desk.database, b[0], "ben", "reject")
    found = {
        "pending": ids(desk, Filter()),
        "job": ids(desk, Filter(job=job, state=StateFilter.FLAGGED)),
        "range": ids(desk, Filter(label="toxicity", low=0.7, high=0.9, state=StateFilter.FLAGGED)),
        "one": ids(desk, Filter(label="toxicity", low=0.85, high=1, state=StateFilter.FLAGGED)),
        "reason": ids(desk, Filter(reason="toxicity", state=StateFilter.FLAGGED)),
        "word": ids(desk, Filter(reason="blocklist:zebra")),
        "any word": ids(desk, Filter(reason="blocklist")),
        "like": ids(desk, Filter(reason="%")),
        "anna": ids(desk, Filter(reviewer="anna", state=StateFilter.DECIDED)),
        "rejected": ids(desk, Filter(state=StateFilter.REJECTED)),
        "all": ids(desk, Filter(state=StateFilter.ALL)),
        "all in a range": ids(desk, Filter(state=StateFilter.ALL, label="toxicity", low=0.05, high=0.31)),
        "unflagged": ids(desk, Filter(state=StateFilter.UNFLAGGED)),
        "no job": ids(desk, Filter(job=999)),
        "no model": ids(desk, Filter(model="gpt5", state=StateFilter.ALL)),
    }
    assert found == {
        "pending": [a[1], a[2]],
        "job": [a[0], a[1], a[2]],
        "range": [b[0], a[1]],
        "one": [a[0], b[0]],
        "reason": [a[0], b[0], a[1]],
        "word": [a[2]],
        "any word": [a[2]],
        "like": [],
        "anna": [a[0]],
        "rejected": [b[0]],
        "all": [*a, *b],
        "all in a range": [a[2], a[3]],
        "unflagged": [a[3]],
        "no job": [],
        "no model": [],
    }


def test_a_row_shows_what_a_list_needs(desk: Desk) -> None:
    (output, other) = desk.outputs_of([{"toxicity": 0.9, "insult": 0.2}, 0.8], texts=["w" * 1000, "short"])
    decide(desk.database, other, "ben", "edit", text="an edit")
    claim_output(desk.database, output, "anna")
    (row,) = read_page(desk.database, PENDING, reviewer="ben").rows
    assert (row.output_id, row.claimed_by, row.text, row.text_cut) == (output, "anna", "w" * 400, True)
    assert (row.prompt, row.prompt_cut, row.state) == ("prompt 0", False, State.PENDING)
    assert (row.scores, row.reasons) == ({"toxicity": 0.9, "insult": 0.2}, ("toxicity",))
    (mine,) = read_page(desk.database, PENDING, reviewer="anna").rows
    assert mine.claimed_by is None
    (edited,) = read_page(desk.database, Filter(state=StateFilter.WAITING)).rows
    assert (edited.text, edited.scores, edited.state) == ("an edit", {}, State.WAITING)
    assert edited.version == desk.look(other).version


def test_counts_stop_at_their_cap(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.review.view_of_everything.SEARCH_SECONDS", 60)  # or at their time, on a busy machine
    desk.outputs_of([0.9] * 12 + [0.1] * 3)
    assert str(count_matching(desk.database, PENDING)) == "12"
    assert str(count_matching(desk.database, PENDING, cap=10)) == "10+"
    assert str(count_matching(desk.database, PENDING, cap=None)) == "12"
    everything = Filter(state=StateFilter.ALL)
    assert [str(count_matching(desk.database, everything, cap=cap)) for cap in (10, 15, None)] == ["10+", "15", "15"]


def test_neighbours_lie_beside_an_output_in_the_views_order(desk: Desk) -> None:
    low, _, middle, clean = desk.outputs_of([0.7, 0.9, 0.8, 0.1])
    assert neighbour(desk.database, PENDING, middle) == low
    assert neighbour(desk.database, PENDING, low) is None
    decide(desk.database, middle, "anna", "approve")  # its place is still known
    assert neighbour(desk.database, PENDING, middle) == low
    assert neighbour(desk.database, Filter(state=StateFilter.ALL), middle) == clean
    assert neighbour(desk.database, PENDING, clean) is None


@pytest.mark.parametrize("cursor", ["x", "score_n_0x1p-1", "score_q_0x1p-1_3", "score_n_nan_3", "score_n_0x1p-1_-5",
                                    "score_n_inf_3", "oldest_n_0x0p+0_3", "score_n_0x1p-1_" + "9" * 40])  # fmt: skip
def test_a_damaged_cursor_is_refused_in_words(desk: Desk, cursor: str) -> None:
    with pytest.raises(UsageError, match="first page"):
        read_page(desk.database, PENDING, cursor=cursor)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"label": "toxicty"}, "did you mean toxicity"),
        ({"low": 0.5}, "needs a label"),
        ({"order": Order.LABEL}, "needs a label"),
        ({"label": "insult", "low": 2.0}, "from 0 to 1"),
        ({"query": "x" * 501}, "501 characters; at most 500 are allowed"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Filter(**values)


def test_a_view_of_everything_says_when_it_has_to_be_searched_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = desk.outputs_of([0.1] * 20 + [0.5] + [0.1] * 20)
    monkeypatch.setattr(view_of_everything, "WINDOW", 5)
    monkeypatch.setattr(view_of_everything, "SEARCH_SECONDS", -1.0)
    monkeypatch.setattr(
        ViewOfEverything.find, "__kwdefaults__", {**ViewOfEverything.find.__kwdefaults__, "seconds": -1.0}
    )
    wanted = Filter(state=StateFilter.ALL, label="toxicity", low=0.4, high=0.6)
    page, looks, found = read_page(desk.database, wanted), 1, []
    assert not page.complete and page.rows == ()
    while page.next:
        found += [row.output_id for row in page.rows]
        page, looks = read_page(desk.database, wanted, cursor=page.next), looks + 1
    found += [row.output_id for row in page.rows]
    assert found == [outputs[20]]
    assert 8 <= looks <= 10


def test_what_reflag_changes_enters_and_leaves_the_queue(desk: Desk) -> None:
    low, high = desk.outputs_of([0.5, 0.9])
    job = desk.look(low).job_id
    reflag_job(desk.database, job, thresholds={"toxicity": 0.4}, blocklist=None)
    assert ids(desk, PENDING) == [high, low]
    reflag_job(desk.database, job, thresholds={"toxicity": 0.95}, blocklist=None)
    assert ids(desk, PENDING) == []


@pytest.mark.parametrize("order", [Order.SCORE, Order.OLDEST, Order.RANDOM])
@pytest.mark.parametrize("job", [None, 1])
def test_in_sqlite_a_page_of_the_queue_is_read_along_an_index(desk: Desk, order: Order, job: int | None) -> None:
    if not desk.database.sqlite:
        pytest.skip("PostgreSQL chooses by its statistics; the bench measures it")
    desk.outputs_of([0.9])
    with desk.database.read() as connection:
        view = ViewOfReviews(connection, Filter(order=order, job=job))
        place = view.place_of(1)
        assert place is not None
        query = view.reviews(place, forwards=True).limit(51)
        compiled = query.compile(desk.database.engine, compile_kwargs={"literal_binds": True})
        plan = " / ".join(str(row[-1]) for row in connection.execute(sql(f"EXPLAIN QUERY PLAN {compiled}")))
    assert "USING COVERING INDEX ix_reviews" in plan
    assert "TEMP B-TREE" not in plan
