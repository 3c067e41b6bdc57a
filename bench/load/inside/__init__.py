"""What runs inside the workers' processes: an engine and a classifier that take no time, in place of the real ones."""
