"""The review page: shows flagged texts to people and takes their decisions.

Reads and decisions go through `db`; this package holds no SQL and never loads a model.
"""
