"""A YOLOv2 detector: network layers as data, decoding, non-maximum suppression, image files, drawing and inference engines."""
