"""The pages, one file a group of addresses.

They ask `db` for facts and leave every statement to it.
"""
