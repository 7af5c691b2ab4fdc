"""Recognise files of other formats that a user may give as a model."""

_DARKNET_HINT = "`boxwright weights import` converts a .cfg and its .weights."
_EXPORT_HINT = "Use the model file from which it was exported."
_OTHER_FORMATS = {
    b"PK\x03\x04": ("a zip archive (.npz, .keras, .pt)", ""),
    b"\x89HDF": ("an HDF5 file (.h5)", ""),
    b"\x80": ("a pickle (.pt, .pkl)", ""),
    b"<": ("a web page", "Download the file again."),
    b"version ": ("a Git LFS pointer", "Run `git lfs pull`, or download the file itself."),
    b"\x89PNG": ("a PNG image", ""),
    b"\xff\xd8\xff": ("a JPEG image", ""),
    b"GIF8": ("a GIF image", ""),
    b"RIFF": ("a WebP image", ""),
    b"BM": ("a BMP image", ""),
    b"II*\0": ("a TIFF image", ""),
    b"MM\0*": ("a TIFF image", ""),
    b"%PDF": ("a PDF", ""),
    b"\x1f\x8b": ("a gzip file (.gz)", "Unpack it."),
    b"Rar!": ("a RAR archive", "Unpack it."),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it."),
    b"[net": ("a Darknet .cfg", _DARKNET_HINT),
    b"\0\0\0\0\x01\0\0\0": ("a Darknet .weights file", _DARKNET_HINT),
    b"\0\0\0\0\x02\0\0\0": ("a Darknet .weights file", _DARKNET_HINT),
    b"\x08\x07\x12": ("an ONNX model", _EXPORT_HINT),
    b"\x08\x08\x12": ("an ONNX model", _EXPORT_HINT),
    b"\x08\x0a\x12": ("an ONNX model", _EXPORT_HINT),
}
"""First bytes -> description of the file, and advice."""


def describe_other_format(start: bytes, expected: str = "model file") -> str:
    """Return a sentence with the format of a file, and advice; "" if the format is unknown or the expected one.

    Args:
        start: At least the first eight bytes of the file.
        expected: The expected format.
    """
    for first_bytes, (kind, hint) in _OTHER_FORMATS.items():
        if start.lstrip(b" \r\n").startswith(first_bytes) and expected not in kind:
            return f"this is {kind}, not a {expected}. {hint}".rstrip()
    return ""
