"""What a job may wait for: Redis that refuses, a local stack that is away or starting.

How a job stands is not known here.
"""
