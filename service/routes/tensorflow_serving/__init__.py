"""Tensorflow serving."""
