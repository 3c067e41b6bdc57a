"""The kinds of model besides a folder in transformers' layout: of the Hub, in one GGUF file, an adapter to merge.

Told by names and files alone; nothing is loaded here.
"""
