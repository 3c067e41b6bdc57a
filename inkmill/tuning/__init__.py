"""Tunings as commands see them: from the corpus to a model, and how one stands.

How a corpus is read and a model is trained is not known here.
"""
