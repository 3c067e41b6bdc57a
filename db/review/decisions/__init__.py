"""Decisions: what may follow what, storing them, one or many, and taking them back.

Every one is a new row of the record.
"""
