"""What the review page reads and writes: views, the queue, one output in full, claims, progress.

Knows nothing of pages.
"""
