"""Boxes: geometry, conversion from and to logits, non-maximum suppression, and their place in an image."""
