"""Random numbers from a counter: the same seed and step always give the same number.

Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), as in Random123.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ROUNDS = 10
MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
WEYL = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint32)

Words = npt.NDArray[np.uint32]


def philox4x32(counters: Words, keys: Words) -> Words:
    """Ten rounds of Philox.

    Args:
        counters: [n, 4]
        keys: [n, 2]

    Returns:
        [n, 4] random words.
    """
    words, keys = counters.copy(), keys.copy()
    for number in range(ROUNDS):
        if number:
            keys = keys + WEYL
        products = words[:, ::2].astype(np.uint64) * MULTIPLIERS  # [n, 2]
        high, low = (products >> np.uint64(32)).astype(np.uint32), products.astype(np.uint32)
        words = np.stack(
            [
                high[:, 1] ^ words[:, 1] ^ keys[:, 0],
                low[:, 1],
                high[:, 0] ^ words[:, 3] ^ keys[:, 1],
                low[:, 0],
            ],
            axis=1,
        )
    return words


def uniform(seeds: npt.ArrayLike, steps: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each pair of seed and step, of 53 random bits.

    Args:
        seeds: [n], 0 to 2**64 - 1: Philox's key.
        steps: [n], 0 to 2**64 - 1: the lower half of Philox's counter; the upper half is 0.

    The bits are the upper 53 of the first two words, the first word being the lower one.
    """
    keys = _halves(seeds)
    counters = np.concatenate([_halves(steps), np.zeros_like(keys)], axis=1)
    words = philox4x32(counters, keys).astype(np.uint64)
    bits = (words[:, 0] | words[:, 1] << np.uint64(32)) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _halves(numbers: npt.ArrayLike) -> Words:
    wide = np.asarray(numbers, dtype=np.uint64)
    return np.stack([wide.astype(np.uint32), (wide >> np.uint64(32)).astype(np.uint32)], axis=1)
