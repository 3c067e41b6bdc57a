"""The review page: what was flagged, shown to people, and their decisions.

Reads and decisions go through `db`; this package holds no SQL and never loads a model.
"""
