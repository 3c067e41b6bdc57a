"""Tables, migrations and every SQL statement of the house.

Functions here take and return plain values; their callers never write a query. Knows no torch, no Celery. Whatever is
given a `Database` raises `DatabaseUnreachable` where that does not answer; a docstring names only other errors.
"""
