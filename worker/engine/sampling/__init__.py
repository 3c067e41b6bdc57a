"""From one row's logits to its next token.

Knows nothing of other rows, of models or of slots.
"""
