"""Texts, figures and times for people to read.

Knows nothing of requests.
"""
