"""Exports: every format, and the files they become.

`producer.export` decides which outputs go in.
"""
