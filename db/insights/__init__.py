"""What a job's outputs look like together: the numbers behind charts, advice, speed and the report.

Knows nothing of how they are drawn.
"""
