"""`inkmill try`: samples from an engine in this process, of one prompt or of one line after the other.

Knows neither jobs nor the database: nothing is stored.
"""
