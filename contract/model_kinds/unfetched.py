"""Files that are there by name only: nobody has fetched what belongs into them."""

from __future__ import annotations

from pathlib import Path

POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS has put in the place of a large one."""


def unfetched_problem(path: Path) -> str | None:
    """Why a file is only the promise of one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        begun = file.read(len(POINTER))
    if begun == POINTER:
        return (
            f"{path}: cannot be loaded, it is only Git LFS's pointer to the file; fetch the file itself: git lfs pull"
        )
    return None if begun else f"{path}: cannot be loaded, it is empty; fetch it once more"
