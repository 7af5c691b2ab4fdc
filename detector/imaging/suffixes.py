"""File name suffixes of images, in lower case. Compare with `path.suffix.lower()`; the content decides how a file is decoded."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".mpo"})

UNSUPPORTED_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".jpx", ".j2k", ".svg", ".ico", ".tga", ".dds", ".psd", ".exr", ".hdr", ".eps", ".dcm"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}
)
"""Image files that cannot be decoded."""
