"""Recognise files of other formats that a user may give as a model."""

_DARKNET_HINT = "`boxwright weights import` converts a .cfg and its .weights."
_EXPORT_HINT = "Use the model file from which it was exported."
_OTHER_FORMATS = {
    b"PK\x03\x04": ("a zip archive (.npz, .keras, .pt)", ""),
    b"\x89HDF": ("an HDF5 file (.h5)", ""),
    b"\x80": ("a pickle (.pt, .pkl)", ""),
    b"<": ("a web page", "Download the file again."),
    b"\x89PNG": ("a PNG image", ""),
    b"\xff\xd8\xff": ("a JPEG image", ""),
    b"GIF8": ("a GIF image", ""),
    b"RIFF": ("a WebP image", ""),
    b"BM": ("a BMP image", ""),
    b"II*\0": ("a TIFF image", ""),
    b"MM\0*": ("a TIFF image", ""),
    b"%PDF": ("a PDF", ""),
    b"[net": ("a Darknet .cfg", _DARKNET_HINT),
    b"\0\0\0\0\x01\0\0\0": ("a Darknet .weights file", _DARKNET_HINT),
    b"\0\0\0\0\x02\0\0\0": ("a Darknet .weights file", _DARKNET_HINT),
    b"\x08\x07\x12": ("an ONNX model", _EXPORT_HINT),
    b"\x08\x08\x12": ("an ONNX model", _EXPORT_HINT),
    b"\x08\x0a\x12": ("an ONNX model", _EXPORT_HINT),
}
"""First bytes -> what the file is, and what to do."""


def describe_other_format(start: bytes) -> str:
    """Return sentences that name the format of a file and what to do, or "" if the format is unknown.

    Args:
        start: The first bytes of the file, at least eight.
    """
    for first_bytes, (kind, hint) in _OTHER_FORMATS.items():
        if start.startswith(first_bytes):
            return f"this is {kind}, not a model file. {hint}".rstrip()
    return ""
