"""File names of images, and names of folders and files that are skipped. Suffixes and folders are in lower case.

The content decides how a file is decoded.
"""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".mpo"})

UNSUPPORTED_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".jpx", ".j2k", ".svg", ".ico", ".tga", ".dds", ".psd", ".exr", ".hdr", ".eps", ".dcm"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}
)
"""Image files that cannot be decoded."""

FOREIGN_FOLDERS = frozenset(
    {
        "@eadir",
        "__macosx",
        "#recycle",
        "@recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "node_modules",
        "site-packages",
    }
)
"""Folders of other programs: thumbnails, archive metadata, deleted files, and libraries."""

ANNOTATED_COPY = ".boxes"
"""End of the stem of images on which `boxwright detect` has drawn boxes."""
