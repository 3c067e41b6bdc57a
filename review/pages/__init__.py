"""The pages, one file for each group of addresses.

They ask `db` for facts and leave every statement to it.
"""
