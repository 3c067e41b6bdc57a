"""Any causal model of transformers in the slot engine, on a CPU: its layers as they are, our attention over our cache.

Knows nothing of texts and scheduling.
"""
