"""What SQLAlchemy is told whichever database it is."""

from __future__ import annotations

from typing import Any

import orjson


def json_options() -> dict[str, Any]:
    # hide_parameters: an error in a log must not quote the texts that were to be stored.
    return {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
        "hide_parameters": True,
    }
