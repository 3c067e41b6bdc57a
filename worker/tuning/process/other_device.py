"""The end of a training process that is on the wrong machine."""

from __future__ import annotations


class OtherDevice(Exception):
    """A tuning began on another kind of device than it would go on with here; it is for a worker that has that one."""
