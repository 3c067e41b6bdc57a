"""How to talk to a database at all: opening it, its transactions, its locks, whether it answers.

Knows nothing of jobs.
"""
