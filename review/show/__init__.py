"""Texts, figures and times as people see them.

Knows nothing of requests.
"""
