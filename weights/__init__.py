"""Pretrained models: where they come from, the file formats that store them, and the engines that run them."""
