"""What would end the process ends its copy."""

from __future__ import annotations

import os

from producer.dry_run import survives


def test_an_abort_is_detected_and_survived() -> None:
    assert not survives(os.abort)
    assert survives(lambda: 1 / 0)
    assert survives(lambda: None)
