"""File name suffixes of images, in lower case. Compare with `path.suffix.lower()`; the content decides how a file is decoded."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".mpo"})
