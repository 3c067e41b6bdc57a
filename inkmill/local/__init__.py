"""The local stack: the embedded Redis and the worker processes of one home.

Knows nothing of prompt files.
"""
