"""Jobs as a whole: written, followed, steered, taken up again.

Who writes and scores their texts is the business of `db.work`.
"""
