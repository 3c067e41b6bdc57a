"""The chaos bench: the promise of docs/reliability.md attacked with real processes, servers and kills.

It starts the program as a user would and reads its tables with SQL of its own; of the program's code it calls nothing
but what finds the Redis server.
"""
