"""Whole sittings in a real browser: by keyboard, by two at once, through a killed server, without JavaScript."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import Page, expect

from contract.review import State
from db.review.detail import read_output
from db.work.request_claims import claim_request, save_edit_scores, save_words
from tests.browser.conftest import Seat, Sitting
from tests.browser.stock import Piece

LOW = Piece(" lived by the sea.", 0.1)


def flagged(count: int) -> list[Piece]:
    """Texts from the highest score down, none of them covered."""
    return [Piece(f" is text number {number}.", round(0.79 - 0.08 * number / count, 6)) for number in range(count)]


def on_screen(page: Page, output: int, *, scripted: bool = True) -> None:
    """Waits until an output is the one in the focus view."""
    expect(page.locator(f'article[data-output="{output}"]')).to_be_visible()
    if scripted:
        ready(page)


def ready(page: Page) -> None:
    """Waits until the page's script listens to keys."""
    page.wait_for_selector("html[data-ready]", state="attached")


def settled(page: Page) -> None:
    """Waits until the browser holds nothing back."""
    deadline = time.monotonic() + 15
    while page.evaluate("Object.keys(localStorage).some(name => name.startsWith('inkmill.held'))"):
        assert time.monotonic() < deadline, "decisions are still held"
        page.wait_for_timeout(50)


def too_wide(page: Page) -> int:
    """By how many pixels a page has to be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def states(sitting: Sitting, *outputs: int) -> list[str]:
    return [read_output(sitting.database, output).state.value for output in outputs]


def test_a_whole_sitting_by_keyboard(seat: Seat) -> None:
    covered = Piece(" is a text nobody should read by accident.", 0.97)
    sitting = seat([covered, *flagged(6), LOW])
    first, *rest = sitting.outputs
    page = sitting.reviewer()
    on_screen(page, first)

    assert "by accident" not in page.content()
    page.keyboard.press("r")
    expect(page.locator("[data-text]")).to_contain_text("by accident")
    page.keyboard.press("r")
    expect(page.locator("[data-text]")).to_have_count(0)
    assert "by accident" not in page.content()

    page.keyboard.press("x")
    on_screen(page, rest[0])
    expect(page.locator("#announcer")).to_contain_text(f"Output {rest[0]}")
    page.keyboard.press("a")
    on_screen(page, rest[1])
    page.keyboard.press("Space")  # skipped
    on_screen(page, rest[2])
    page.keyboard.press("k")
    on_screen(page, rest[1])
    page.keyboard.press("j")
    on_screen(page, rest[2])

    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("A milder text, with a and x in it.")
    page.keyboard.press("Control+Enter")
    on_screen(page, rest[3])
    page.keyboard.press("x")
    on_screen(page, rest[4])
    page.keyboard.press("Backspace")
    on_screen(page, rest[3])
    expect(page.locator(".badges")).to_contain_text("to review")
    page.keyboard.press("a")
    on_screen(page, rest[4])

    page.keyboard.press("/")
    page.keyboard.type('"number 5"')
    page.keyboard.press("Enter")
    on_screen(page, rest[5])
    expect(page.locator("mark").first).to_have_text("number")
    page.keyboard.press("?")
    expect(page.locator("#keys-help")).to_be_visible()
    page.keyboard.press("x")  # rests under the window
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    on_screen(page, rest[5])
    page.keyboard.press("x")
    expect(page.locator("[data-done]")).to_contain_text("Nothing left in this view")
    settled(page)

    assert states(sitting, first, *rest[:6]) == [
        "rejected", "approved", "pending", "waiting", "approved", "pending", "rejected",
    ]  # fmt: skip
    assert read_output(sitting.database, rest[2]).text == "A milder text, with a and x in it."
    assert [entry.action.value for entry in read_output(sitting.database, rest[3]).history] == [
        "reject",
        "undo",
        "approve",
    ]


def test_keys_can_be_switched_off_and_buttons_do_the_same(seat: Seat) -> None:
    sitting = seat(flagged(4))
    page = sitting.reviewer()
    first, second, third, _ = sitting.outputs
    page.route("**/preferences", lambda route: route.abort())  # what was switched off is off, however slow the server
    page.keyboard.press("?")
    page.click("text=Turn keys off")
    page.click("[data-close-help]")
    page.keyboard.press("x")
    page.reload()
    ready(page)
    page.keyboard.press("x")
    on_screen(page, first)
    page.click("button:has-text('Approve')")
    on_screen(page, second)
    page.fill("[data-reason]", "rude")
    page.click("button:has-text('Reject')")
    on_screen(page, third)
    page.click("[data-undo] button")
    on_screen(page, second)
    settled(page)
    assert states(sitting, first, second) == ["approved", "pending"]
    assert read_output(sitting.database, second).history[0].reason == "rude"


def test_two_reviewers_at_once_never_get_the_same_output(seat: Seat, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("mara mara-has-a-long-token\nnoor noor-has-a-long-token\n")
    tokens.chmod(0o600)
    # More than are decided: near the end of a queue one reviewer may hold the last one while the other has none.
    sitting = seat(flagged(20), options=("--token-file", str(tokens)))
    mara = sitting.reviewer("mara-has-a-long-token")
    noor = sitting.reviewer("noor-has-a-long-token")
    for page in (mara, noor):
        ready(page)
        page.wait_for_timeout(300)
    for _ in range(5):
        seen = [page.get_attribute("article[data-output]", "data-output") for page in (mara, noor)]
        assert seen[0] != seen[1]
        for page, before in zip((mara, noor), seen, strict=True):
            page.keyboard.press("x")
            page.wait_for_selector(f'article[data-output]:not([data-output="{before}"])')
    for page in (mara, noor):
        settled(page)
        assert page.locator("#held").is_hidden()
    entries = [read_output(sitting.database, output).history for output in sitting.outputs]
    assert max(map(len, entries)) == 1
    assert sorted(entry.reviewer for history in entries for entry in history) == ["mara"] * 5 + ["noor"] * 5


def test_a_stale_decision_shows_what_the_other_one_decided(seat: Seat, tmp_path: Path) -> None:
    from db.review.claims import release_output
    from db.review.decisions.acts import decide

    sitting = seat(flagged(3))
    page = sitting.reviewer()
    first, second, _ = sitting.outputs
    on_screen(page, first)
    page.wait_for_timeout(300)
    release_output(sitting.database, first, "mara")  # as if mara had been away for long
    decide(sitting.database, first, "noor", "approve")
    page.keyboard.press("x")
    on_screen(page, second)
    expect(page.locator("#held")).to_contain_text("noor set it to approved")
    assert states(sitting, first) == ["approved"]
    page.click("text=Dismiss")
    expect(page.locator("#held")).to_be_hidden()


def test_a_server_killed_in_the_middle_loses_nothing(seat: Seat) -> None:
    sitting = seat(flagged(8))
    one, two, three, four, *_ = sitting.outputs
    page = sitting.reviewer()
    on_screen(page, one)
    page.keyboard.press("x")
    on_screen(page, two)
    settled(page)
    page.wait_for_timeout(300)  # the next one is read ahead
    sitting.web.kill()

    page.keyboard.press("a")
    on_screen(page, three)  # it was there already
    expect(page.locator("#held")).to_contain_text("not sent yet")
    page.keyboard.press("x")
    expect(page.locator("#held")).to_contain_text("2 decisions not sent yet")
    expect(page.locator("#card")).to_contain_text("Your decisions are safe")
    assert states(sitting, two, three) == ["pending", "pending"]

    sitting.web.start()
    page.click("text=Send now")
    settled(page)
    expect(page.locator("#held")).to_be_hidden()
    on_screen(page, four)
    assert states(sitting, one, two, three) == ["rejected", "approved", "rejected"]
    page.keyboard.press("u")
    on_screen(page, three)
    settled(page)
    assert states(sitting, three) == ["pending"]
    assert [len(read_output(sitting.database, output).history) for output in (one, two, three)] == [1, 1, 2]


def test_a_tab_that_was_closed_sends_what_it_held_when_it_comes_back(seat: Seat) -> None:
    sitting = seat(flagged(4))
    page = sitting.reviewer()
    on_screen(page, sitting.outputs[0])
    page.wait_for_timeout(300)
    sitting.web.kill()
    page.keyboard.press("x")
    page.wait_for_timeout(200)
    context = page.context
    page.close()
    sitting.web.start()
    again = context.new_page()
    again.goto(f"{sitting.web.base}/help")
    settled(again)
    assert states(sitting, sitting.outputs[0]) == ["rejected"]


def test_what_a_worker_finds_out_comes_into_the_open_page(seat: Seat) -> None:
    sitting = seat(flagged(3))
    first, second, _ = sitting.outputs
    page = sitting.reviewer()
    on_screen(page, first)
    page.keyboard.press("w")
    expect(page.locator(".reading")).to_contain_text("waiting for a worker")
    marks = claim_request(sitting.database, "worker-1", ["demo"], 60)
    assert marks is not None
    save_words(sitting.database, marks, [(4, 8)], {"toxicity": [0.5]})
    expect(page.locator("mark.strong[title]")).to_have_text("text")
    expect(page.locator(".words")).to_contain_text("approximate")

    page.keyboard.press("e")
    page.fill("#edit-text", "Milder.")
    page.keyboard.press("Control+Enter")
    on_screen(page, second)
    settled(page)
    page.keyboard.press("k")
    on_screen(page, first)
    expect(page.locator(".badges")).to_contain_text("not scored yet")
    edit = claim_request(sitting.database, "worker-1", ["demo"], 60)
    assert edit is not None and edit.text == "Milder."
    save_edit_scores(sitting.database, edit, {"toxicity": 0.01}, "rev-c")
    expect(page.locator(".badges")).to_contain_text("edited")
    expect(page.locator(".bar-score").first).to_contain_text("0.01")
    assert states(sitting, first) == ["edited"]


def test_five_thousand_are_decided_at_once_and_taken_back(seat: Seat) -> None:
    sitting = seat([*flagged(5000), LOW])
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/bulk?label=toxicity&low=0.2")
    expect(page.locator(".bulk-count")).to_contain_text("5,000")
    ready(page)
    page.keyboard.press("*")
    page.keyboard.press("x")
    expect(page.locator("h1")).to_have_text("Reject 5,000 outputs?")
    assert states(sitting, sitting.outputs[4999]) == ["pending"]
    page.fill("#reason", "all the same")
    page.click("[data-go]")
    expect(page.locator("h1")).to_have_text("5,000 outputs rejected", timeout=40_000)
    assert states(sitting, *sitting.outputs[4998:]) == ["rejected", "rejected", "unflagged"]
    assert read_output(sitting.database, sitting.outputs[0]).history[0].reason == "all the same"
    page.click("text=Undo these 5,000 decisions")
    expect(page.locator("h1")).to_have_text("5,000 decisions undone", timeout=40_000)
    assert states(sitting, sitting.outputs[0], sitting.outputs[4999]) == ["pending", "pending"]


def test_the_table_by_keyboard(seat: Seat) -> None:
    sitting = seat([Piece(" is covered at first.", 0.95), *flagged(6)])
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/bulk")
    ready(page)
    for key in ("j", "r"):
        page.keyboard.press(key)
    expect(page.locator("tr[data-current]")).to_contain_text("is covered at first")
    for key in ("x", "a", "u"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
    settled(page)
    assert states(sitting, *sitting.outputs[:2]) == ["rejected", "pending"]
    for key in ("j", "m", "j", "j", "Shift+M", "x"):
        page.keyboard.press(key)
    expect(page.locator("h1")).to_have_text("Reject 3 outputs?")
    expect(page.locator("[data-go]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("3 outputs rejected")
    assert states(sitting, *sitting.outputs[1:6]) == ["pending", *["rejected"] * 3, "pending"]
    page.goto(f"{sitting.web.base}/bulk")
    ready(page)
    page.keyboard.press("j")
    page.keyboard.press("e")
    on_screen(page, sitting.outputs[1])
    expect(page.locator("#edit-text")).to_be_focused()


def test_without_javascript_everything_is_readable_and_decidable(seat: Seat) -> None:
    sitting = seat([Piece(" is covered at first.", 0.95), *flagged(4)])
    first, second, third, *_ = sitting.outputs
    page = sitting.reviewer(java_script_enabled=False)
    on_screen(page, first, scripted=False)
    assert "is covered" not in page.content()
    page.click("[data-reveal]")
    expect(page.locator("[data-text]")).to_have_text(" is covered at first.")
    page.click("button:has-text('Reject')")
    on_screen(page, second, scripted=False)
    expect(page.locator(".notice").first).to_contain_text(f"Output {first} is rejected")
    page.click("[data-skip]")
    on_screen(page, third, scripted=False)
    page.click("[data-edit] summary")
    page.fill("#edit-text", "Better words.")
    page.click("text=Save the edit")
    page.click("[data-undo] button")
    on_screen(page, third, scripted=False)
    expect(page.locator(".badges")).to_contain_text("to review")
    page.goto(f"{sitting.web.base}/bulk")
    page.check(f"[aria-label='Select output {second}']")
    page.click("button:has-text('Approve')")
    page.click("[data-go]")
    expect(page.locator("h1")).to_have_text("1 output approved")
    page.click(".theme button")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert states(sitting, first, second, third) == [State.REJECTED, State.APPROVED, State.PENDING]


HOSTILE = [
    "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\"><style>*{color:red}</style>",
    "\u202eright to left override\u2066 isolate \x1b[31m red \x07 bell \u200b",
    "x" * 100_000,
    "👩‍👩‍👧‍👦🏳️‍🌈" * 400,
    "مرحبا بالعالم " * 300,
    "e" + "\u0301" * 400 + " " + "Z̷̢̛" * 200,
    "](javascript:alert(1)) &lt;b&gt; {{7*7}} ${7*7} %00 \\u202e",
]


def test_hostile_texts_are_text_and_leave_the_layout_whole(seat: Seat) -> None:
    pieces = [Piece(text, round(0.79 - number / 1000, 4), prompt=text[:2000]) for number, text in enumerate(HOSTILE)]
    sitting = seat(pieces)
    page = sitting.reviewer()
    paths = ["/bulk", f"/outputs/{sitting.outputs[2]}?full=1"]
    paths += [f"/outputs/{output}" for output in sitting.outputs]
    for path in paths:
        page.goto(sitting.web.base + path)
        assert page.title() != "pwned"
        assert page.locator("main script, main img, main style").count() == 0
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert too_wide(page) <= 0, f"{path} at {width}"
    page.goto(f"{sitting.web.base}/outputs/{sitting.outputs[0]}")
    assert "onerror=" in page.inner_text("[data-text]")
    page.goto(f"{sitting.web.base}/outputs/{sitting.outputs[1]}")
    ready(page)
    assert "U+202E" in page.inner_text("[data-text]") and "U+001B" in page.inner_text("[data-text]")
    page.keyboard.press("x")
    settled(page)
    assert states(sitting, sitting.outputs[1]) == ["rejected"]
