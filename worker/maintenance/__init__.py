"""What every worker does beside its tasks, so that nothing stays behind: one duty a file, one sweep through them all.

That is what makes work go on by itself after Redis was flushed, or a message or a worker was lost. Knows nothing of
models.
"""
