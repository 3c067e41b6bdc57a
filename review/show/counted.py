"""Outputs and the versions a reviewer saw, packed into a form field.

A reviewer decides what was counted, not what matches by the time the button is pressed.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

from contract.errors import UsageError
from review.security.form import whole

MOST_OUTPUTS = 1_000_000
MOST_BYTES = 20 * MOST_OUTPUTS
LONGEST = 3 * 2**20
"""Characters of the packed field, which shares a form with others. A million outputs take a third of it."""

DAMAGED = "counted: is damaged; go back to the table and try again"


def packed(versions: Mapping[int, int]) -> str:
    """Versions by output as a form field: each output as its distance from the previous one.

    Raises:
        UsageError: there are too many.
    """
    parts, before = [], 0
    for output, version in sorted(versions.items()):
        parts.append(f"{output - before}.{version}" if version else str(output - before))
        before = output
    field = urlsafe_b64encode(zlib.compress(",".join(parts).encode())).decode()
    if len(parts) > MOST_OUTPUTS or len(field) > LONGEST:
        raise UsageError(f"{len(parts):,} outputs are too many to decide at once; narrow the filter")
    return field


def unpacked(said: str) -> dict[int, int]:
    """Versions by output, in the order of outputs.

    Raises:
        UsageError: `packed` did not write it.
    """
    versions, output = {}, 0
    for part in _inflated(said).split(","):
        distance, _, version = part.partition(".")
        output += whole(distance, "counted")
        versions[output] = whole(version or "0", "counted")
    if output > 2**62:
        raise UsageError(DAMAGED)
    return versions


def _inflated(said: str) -> str:
    inflating = zlib.decompressobj()
    try:
        text = inflating.decompress(urlsafe_b64decode(said.encode()), MOST_BYTES).decode("ascii")
    except (ValueError, zlib.error):
        raise UsageError(DAMAGED) from None
    if not inflating.eof:
        raise UsageError(DAMAGED)
    return text
