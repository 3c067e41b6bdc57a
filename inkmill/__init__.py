"""The front door: the `inkmill` command and the local stack. It never loads torch."""
