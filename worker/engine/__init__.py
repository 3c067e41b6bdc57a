"""The engine: requests in, completions out.

It knows nothing of SQL, Celery or settings files; `sequence` and `scheduler` know nothing of torch either.
"""
