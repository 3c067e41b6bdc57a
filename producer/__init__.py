"""Prompt files in, jobs and queue messages out; exports.

Knows neither torch, nor the worker, nor the review page; every SQL statement is in `db`.
"""
