"""Models of one's own: the tunings that make them, what those learned from, and the way of a text back to its corpus.

Corpora and folders are for others: rows here name them.
"""
