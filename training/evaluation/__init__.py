"""Measure detectors: average precision, confusion matrix, results per image."""
