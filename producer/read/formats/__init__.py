"""The formats of prompt files: each makes records of bytes, and fields of records.

Which one a file has, and what its fields mean, is not known here.
"""
