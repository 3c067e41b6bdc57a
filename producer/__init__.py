"""Prompt files in, jobs and messages out; exports.

This room knows neither torch, nor the worker, nor the review page; every SQL statement lies in `db`.
"""
