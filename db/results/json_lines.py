"""Outputs and lost prompts as lines of JSON."""

from __future__ import annotations

from typing import Any

import orjson


def json_line(line: dict[str, Any]) -> bytes:
    """The line as JSON bytes, with a line ending."""
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Metadata may be nested as deeply as orjson allows, and is one level deeper inside the line.
        line_with_raw_metadata = line | {"metadata": orjson.Fragment(orjson.dumps(line["metadata"]))}
        return orjson.dumps(line_with_raw_metadata, option=orjson.OPT_APPEND_NEWLINE)
