"""Boxes: geometry, conversion from and to logits, non-maximum suppression, and placement in an image."""
