"""The worker's processes: the parent without torch, the child with the model, and what Celery lets in.

Knows nothing of what a task does.
"""
