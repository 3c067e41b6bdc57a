"""Who may open a page, over which connection, and with which credentials.

Knows nothing of the pages themselves.
"""
