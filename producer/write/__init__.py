"""Exports: every form they go out in, and the files they become.

Which outputs go in is for `producer.export` to say.
"""
