"""What commands print: messages, tables, JSON, questions.

What is done, and when, is not known here.
"""
