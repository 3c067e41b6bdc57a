"""Classifiers: texts in, a probability by label out. Thresholds, flags and SQL are not known here."""
