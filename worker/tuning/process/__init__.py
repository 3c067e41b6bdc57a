"""The training process as its parent sees it: what it says, when it ends, and the folder that it works in.

What it does there is not known here.
"""
