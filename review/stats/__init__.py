"""Estimates with their uncertainty, as plain numbers.

Knows neither pages nor SQL.
"""
