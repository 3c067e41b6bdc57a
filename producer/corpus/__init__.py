"""Corpora to train with: files, data sets and a job's own texts become tokens in memory-mapped files.

Knows tokenizers and no torch. How a model learns from the tokens is not known here.
"""
