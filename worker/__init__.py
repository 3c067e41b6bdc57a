"""The worker: messages in, texts and scores out.

The only room that loads torch. It knows nothing of prompt files or pages.
"""
