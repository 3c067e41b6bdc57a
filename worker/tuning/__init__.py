"""The training process: from a folder with an order and a corpus to a finished model in the same folder.

Knows nothing of SQL, Celery, and of where a finished model is kept.
"""
