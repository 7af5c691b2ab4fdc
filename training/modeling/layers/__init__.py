"""Keras layers for training."""
