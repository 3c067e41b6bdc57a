"""The migrations, applied by the program itself when it opens a database."""

HEAD = "0018"
"""The newest revision. Kept here so that an up-to-date database is opened without importing Alembic."""
