"""The front door: the `inkmill` command and the local stack. It never loads torch."""

__version__ = "0.1.0"
