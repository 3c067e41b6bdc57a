"""Which texts share a forward pass: those that are padded alike, as many as the budget of tokens holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.safety.batches import Window, mini_batches

LONGEST = 60

lengths = st.lists(st.integers(1, LONGEST), max_size=40)


def windows(of: list[int]) -> list[Window]:
    return [Window(text, [7] * length) for text, length in enumerate(of)]


@given(lengths, st.integers(1, 200))
def test_every_window_is_in_one_batch_and_no_batch_of_several_exceeds_its_budget(of: list[int], budget: int) -> None:
    batches = list(mini_batches(windows(of), multiple=8, longest=LONGEST, budget=budget))
    assert sorted(window.text for batch in batches for window in batch.windows) == list(range(len(of)))
    for batch in batches:
        assert len(batch.windows) <= batch.rows <= 9 / 8 * len(batch.windows)
        assert batch.rows == 1 or batch.rows * batch.length <= budget


@given(lengths, lengths)
def test_how_far_a_window_is_padded_depends_on_it_alone(of: list[int], others: list[int]) -> None:
    for batch in mini_batches(windows(of + others), multiple=8, longest=LONGEST, budget=100):
        for window in batch.windows:
            (alone,) = mini_batches([window], multiple=8, longest=LONGEST, budget=100)
            assert batch.length == alone.length == min(-(-len(window.tokens) // 8) * 8, LONGEST)


def test_the_longest_come_first_and_full_batches_before_the_rest() -> None:
    batches = mini_batches(windows([3, 8, 30, 9, 1, 2]), multiple=8, longest=LONGEST, budget=24)
    assert [(batch.length, [window.text for window in batch.windows]) for batch in batches] == [
        (32, [2]),
        (16, [3]),
        (8, [0, 1, 4]),
        (8, [5]),
    ]
