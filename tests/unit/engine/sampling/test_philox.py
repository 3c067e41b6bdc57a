"""The counter-based random numbers."""

import numpy as np
import pytest

from worker.engine.sampling.philox import philox4x32, uniform

# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> np.ndarray:
    return np.array([[int(word, 16) for word in text.split()]], dtype=np.uint32)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, result: str) -> None:
    assert (philox4x32(words(counter), words(key)) == words(result)).all()


def test_many_rows_at_once_give_what_each_gives_alone() -> None:
    seeds, steps = [0, 1, 2**53 - 1, 2**64 - 1, 7], [0, 5, 1023, 2**40, 2**64 - 1]
    together = uniform(seeds, steps)
    assert together.tolist() == [uniform([seed], [step])[0] for seed, step in zip(seeds, steps, strict=True)]
    assert len(set(together.tolist())) == len(seeds)


def test_no_rows_give_no_numbers() -> None:
    assert uniform([], []).shape == (0,)


def test_the_numbers_are_uniform_over_steps_and_over_seeds() -> None:
    count = 20_000
    for numbers in (uniform([42] * count, range(count)), uniform(range(count), [3] * count)):
        assert numbers.min() >= 0
        assert numbers.max() < 1
        observed, _ = np.histogram(numbers, bins=100, range=(0, 1))
        chi_square = ((observed - count / 100) ** 2 / (count / 100)).sum()
        assert chi_square < 148.2  # 99.9 % quantile, 99 degrees of freedom


def test_a_number_is_made_of_the_upper_53_bits_of_two_words() -> None:
    low, high = 0x6627E8D5, 0xE169C58D
    assert uniform([0], [0])[0] == ((high << 32 | low) >> 11) / 2**53
