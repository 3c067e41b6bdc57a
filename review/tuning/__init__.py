"""The pages of tunings: the list, and one live with its curves and samples.

What is trained, and how, is not known here.
"""
