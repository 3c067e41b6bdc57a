"""One worker process: its engine's thread, its leases, who may run beside whom, and what ends it.

Knows nothing of Celery.
"""
