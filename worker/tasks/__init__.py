"""What a message makes a worker do, thin: claim, compute, save.

What computes is the business of `worker.engine` and `worker.safety`.
"""
