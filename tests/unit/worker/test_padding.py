"""How many rows a product is given."""

from __future__ import annotations

import pytest

from worker.padding import filled_up


@pytest.mark.parametrize(
    ("apart", "multiple", "numbers"), [(8, 1, 65), (32, 1, 193), (32, 2, 161), (32, 8, 97), (32, 64, 17)]
)
def test_rows_are_padded_by_little_to_one_of_few_counts(apart: int, multiple: int, numbers: int) -> None:
    filled = {count: filled_up(count, apart, multiple) for count in range(1025)}
    for count, rows in filled.items():
        assert count <= rows <= count + max(count / apart, multiple - 1)
        assert rows % multiple == 0
    assert len(set(filled.values())) == numbers
    assert filled[0] == 0
