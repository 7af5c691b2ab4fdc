"""Pretrained models: the catalogue and its downloads, file formats, quantization, model folders, and engines."""
