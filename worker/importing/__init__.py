"""Checkpoints that other programs wrote, made into folders in transformers' layout.

Knows neither SQL nor where models are kept, and runs nothing that a checkpoint brings along.
"""
