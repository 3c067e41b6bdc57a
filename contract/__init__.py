"""What every room agrees on: settings, the job spec, statuses, flag policy, the Celery app, errors.

This floor knows neither torch nor SQL; everything above it may import it.
"""
