"""From a model's name to an engine that holds it: files, the Hub, revisions, compiling ahead.

Knows nothing of requests.
"""
