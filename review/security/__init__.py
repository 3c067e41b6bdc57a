"""Who may ask for a page, over which connection, and with what in hand.

Knows nothing of what pages show.
"""
