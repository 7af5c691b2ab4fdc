"""Prepare a model for training: labels, anchors, new heads."""
