"""Prompt files: every form they come in, read row by row in constant memory.

What becomes of the rows is for `producer.submit` to say.
"""
