"""From pieces of documents to tokens in files.

Where the documents come from, and to which part they belong, is decided elsewhere.
"""
