"""The kinds of model besides a folder in transformers' layout: of the Hub, one's own, in one GGUF file, an adapter.

Told by names and files alone; nothing is loaded here.
"""
