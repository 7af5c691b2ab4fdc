"""Tensornets."""
