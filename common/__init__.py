"""Small things of the operating system and of text.

Knows nothing of jobs, settings or models.
"""
