"""What every worker does besides its tasks: one duty a file, all of them performed in each sweep.

This is why work goes on by itself after Redis was flushed, or a message or a worker was lost. Knows nothing of models.
"""
