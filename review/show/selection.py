"""Outputs and the versions a reviewer saw, packed into a form field.

A reviewer decides what the page counted, not what matches by the time the button is pressed.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

from contract.errors import UsageError
from review.security.form import whole_number

MOST_OUTPUTS = 1_000_000
MOST_BYTES = 20 * MOST_OUTPUTS
MOST_CHARACTERS = 3 * 2**20
"""Characters of the packed field, which shares a form with others. A million outputs take a third of it."""

DAMAGED = "selection: is damaged; go back to the table and try again"


def packed(versions: Mapping[int, int]) -> str:
    """Versions by output as a form field: each output as its distance from the previous one.

    Raises:
        UsageError: there are too many.
    """
    parts, previous = [], 0
    for output, version in sorted(versions.items()):
        parts.append(f"{output - previous}.{version}" if version else str(output - previous))
        previous = output
    field = urlsafe_b64encode(zlib.compress(",".join(parts).encode())).decode()
    if len(parts) > MOST_OUTPUTS or len(field) > MOST_CHARACTERS:
        raise UsageError(f"{len(parts):,} outputs are too many to decide at once; narrow the filter")
    return field


def unpacked(field: str) -> dict[int, int]:
    """Versions by output, in the order of outputs.

    Raises:
        UsageError: `packed` did not write it.
    """
    versions, output = {}, 0
    for part in _decompressed(field).split(","):
        distance, _, version = part.partition(".")
        output += whole_number(distance, "selection")
        versions[output] = whole_number(version or "0", "selection")
    if output > 2**62:
        raise UsageError(DAMAGED)
    return versions


def _decompressed(field: str) -> str:
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(urlsafe_b64decode(field.encode()), MOST_BYTES).decode("ascii")
    except (ValueError, zlib.error):
        raise UsageError(DAMAGED) from None
    if not decompressor.eof:
        raise UsageError(DAMAGED)
    return text
