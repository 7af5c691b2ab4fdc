"""Pretrained models: the catalogue and its downloads, file formats, quantization, the model folder, and engines."""
