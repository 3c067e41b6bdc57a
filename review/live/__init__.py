"""Live updates of open pages: the database is read once for all viewers, and changes are sent.

Knows nothing of the content.
"""
