"""How loops are compiled, and the numbers inside them.

Knows nothing of models.
"""
