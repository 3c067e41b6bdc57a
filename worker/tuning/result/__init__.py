"""The end of a training: the best checkpoint becomes a model with its card, measured before and after.

Where a finished model is kept is not known here.
"""
