"""A selection fits into its form, and comes back as it was."""

from __future__ import annotations

import random

import pytest

from contract.errors import UsageError
from review.security.body import REVIEWERS
from review.show import selection
from review.show.selection import MOST_CHARACTERS, MOST_OUTPUTS, packed, unpacked


def test_a_selection_comes_back_in_the_order_of_outputs() -> None:
    versions = {17: 0, 3: 99, 2**40: 2**41, 4: 0}
    assert unpacked(packed(versions)) == versions
    assert list(unpacked(packed(versions))) == [3, 4, 17, 2**40]


def test_the_most_that_is_decided_at_once_fits_into_a_form(monkeypatch: pytest.MonkeyPatch) -> None:
    some = MOST_OUTPUTS // 50
    flagged = dict.fromkeys(random.Random(8123).sample(range(10 * some), some), 0)
    assert 50 * len(packed(flagged)) < MOST_CHARACTERS < REVIEWERS.longest - 2**19
    monkeypatch.setattr(selection, "MOST_OUTPUTS", some - 1)
    with pytest.raises(UsageError, match="20,000 outputs are too many to decide at once; narrow the filter"):
        packed(flagged)
    monkeypatch.setattr(selection, "MOST_OUTPUTS", some)
    monkeypatch.setattr(selection, "MOST_CHARACTERS", 10_000)
    with pytest.raises(UsageError, match="narrow the filter"):
        packed(flagged)
