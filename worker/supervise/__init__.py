"""The worker's processes: the parent without torch, the child with the model, and the messages it accepts.

Knows nothing of what a task does.
"""
