"""Protocol buffers' wire format, as far as the index of a checkpoint needs it: a message's fields by number.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

from worker.importing.tensorflow.damage import Damaged

LONGEST_VARINT = 10


def varint(content: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and where the next byte is.

    Raises:
        Damaged: it does not end.
    """
    value = 0
    for length, byte in enumerate(content[place : place + LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * length
        if byte < 0x80:
            return value, place + length + 1
    raise Damaged("is damaged: a number in it does not end")


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: numbers as they are, whatever else as bytes.

    Raises:
        Damaged: it is no message.
    """
    place = 0
    while place < len(message):
        key, place = varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = varint(message, place)
            yield number, value
            continue
        length, place = _length(message, place, kind)
        content = message[place : place + length]
        if len(content) < length:
            raise Damaged("is damaged: a record in it breaks off")
        place += length
        yield number, content if kind == 2 else int.from_bytes(content, "little")


def _length(message: bytes, place: int, kind: int) -> tuple[int, int]:
    if kind == 2:
        return varint(message, place)
    try:
        return {1: 8, 5: 4}[kind], place
    except KeyError:
        raise Damaged("is damaged: it has a record of an unknown kind") from None
