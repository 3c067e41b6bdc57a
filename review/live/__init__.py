"""What changes under an open page: watched once for all who look, sent where it changed.

Knows nothing of what it shows.
"""
