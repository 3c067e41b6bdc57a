"""What a model has learned of a text: how well it predicts it, and how much of its training text it writes again.

Knows nothing of SQL, jobs and training.
"""
