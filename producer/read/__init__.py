"""Prompt files: every format, read row by row in constant memory.

`producer.submit` decides what becomes of the rows.
"""
