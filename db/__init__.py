"""Tables, migrations and every SQL statement of the house.

Functions here take and give plain values; whoever calls them never writes a query. Knows no torch, no Celery.
"""
