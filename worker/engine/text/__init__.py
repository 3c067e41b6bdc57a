"""From tokens to the text that they write.

Knows nothing of models, of slots or of sampling.
"""
