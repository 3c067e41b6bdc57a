"""Stored outputs on their way out: into exports, and to be made again.

Knows nothing of files.
"""
