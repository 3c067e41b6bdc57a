"""What a worker does when a message comes: claim, compute, save.

The computing is left to `worker.engine` and `worker.safety`.
"""
