"""Models that no slot can have, run by transformers: in groups of texts where that changes none, else one by one.

How a text is sampled, and where it ends, is as everywhere.
"""
