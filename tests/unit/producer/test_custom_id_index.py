"""The table of custom_ids says what a dict would, in less memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from producer.custom_id_index import MIN_SLOTS, CustomIdIndex

ANY = st.integers(-(2**63), 2**63 - 1).filter(lambda key: key != 0)
NEIGHBOURS = st.integers(1, 40).map(lambda number: number * MIN_SLOTS - 1)
"""Keys that all want the last slot of the first table, and go on at its beginning."""


@given(st.lists(st.one_of(ANY, NEIGHBOURS, st.integers(1, 50)), max_size=3 * MIN_SLOTS))
def test_it_returns_what_a_dict_would(keys: list[int]) -> None:
    table, lines = CustomIdIndex(), dict[int, int]()
    for number, key in enumerate(keys, 1):
        assert table.first_line(key, number) == lines.setdefault(key, number)
    assert all(table.first_line(key, 0) == line for key, line in lines.items())


def test_it_grows_and_forgets_nothing() -> None:
    table, keys = CustomIdIndex(), [hash(f"p-{number}") for number in range(20 * MIN_SLOTS)]
    assert [table.first_line(key, number) for number, key in enumerate(keys)] == list(range(len(keys)))
    assert [table.first_line(key, -1) for key in keys] == list(range(len(keys)))


def test_a_key_of_zero_is_remembered() -> None:
    table = CustomIdIndex()
    assert (table.first_line(0, 7), table.first_line(0, 8)) == (7, 7)


def test_an_id_takes_fifty_bytes_at_most() -> None:
    count = 100_000
    tracemalloc.start()
    try:
        table = CustomIdIndex()
        for number in range(count):
            table.first_line(hash(f"p-{number}"), number)
        assert tracemalloc.get_traced_memory()[0] < 50 * count
    finally:
        tracemalloc.stop()
