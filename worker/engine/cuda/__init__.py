"""What runs on a GPU only. None of it ever ran on one: tests run it on a CPU, or by Triton's interpreter.

Knows nothing of texts and scheduling.
"""
