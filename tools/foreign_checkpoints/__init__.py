"""Makes the checkpoints of other programs in `tests/data/checkpoints/`, with those programs."""
