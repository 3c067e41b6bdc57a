"""How many rows a matrix product is given, so that few numbers of rows are ever seen."""

from __future__ import annotations


def filled_up(count: int, apart: int, multiple: int = 1) -> int:
    """How many rows to compute where `count` are needed: at most 1 in `apart` more, or up to the multiple.

    oneDNN makes code for each number of rows, in about a millisecond and half a megabyte for each shape of a layer, and
    keeps it. So of the large numbers only some are used.
    """
    step = max(multiple, 1 << max(count // apart, 1).bit_length() - 1)
    return -(-count // step) * step
