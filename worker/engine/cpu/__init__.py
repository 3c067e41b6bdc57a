"""GPT-2's forward pass on a CPU, row by row alike whatever runs beside it.

Knows nothing of texts and scheduling.
"""
