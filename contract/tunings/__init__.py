"""What the side that asks for a tuning and the worker that trains agree on: the order, the corpus, the folder.

Nothing is trained here, and torch is not known.
"""
