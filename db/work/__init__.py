"""Batches in workers' hands: claims under leases, what is saved under them, and what brings them back.

Knows nothing of reviewers.
"""
