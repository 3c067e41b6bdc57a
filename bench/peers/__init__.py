"""The engines beside ours: one module each, run by an interpreter of its own that has that engine alone."""
