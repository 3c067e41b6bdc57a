"""From files, data sets and jobs to documents, which are a stream of pieces.

What becomes of a document, and what its tokens are, is not known here.
"""
