"""What every worker does beside its tasks, so that nothing stays behind.

Knows nothing of models.
"""
