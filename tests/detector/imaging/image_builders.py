"""Builders of images and image files, shared by the tests of decoding."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def gradient(width=24, height=17):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x * 7 + y * 13) % 256], axis=-1).astype(np.uint8)


def encode(image, form, **options):
    """Encode an array or a Pillow image. `form` is Pillow's name of the format."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, form, **options)
    return out.getvalue()


def exif_with_orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def jpeg_tables():
    """Return the quantization and Huffman tables of a Pillow JPEG, a list of segments."""
    data, position, tables = encode(Image.new("RGB", (16, 16)), "JPEG", subsampling=0), 2, []
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if data[position + 1] in (0xDB, 0xC4):
            tables.append(data[position:end])
        position = end
    return tables


def jpeg(width, height, scans, *, frame=0xC0, ended=True):
    """Build a JPEG of three components with these scans: (components, first and last coefficient, high and low bit), without data."""
    sof = bytes([0xFF, frame]) + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"".join(bytes([i, 0x11, i > 1]) for i in (1, 2, 3))
    parts = [b"\xff\xd8", *jpeg_tables(), sof]
    for components, first, last, bits in scans:
        header = struct.pack(">HB", 6 + 2 * len(components), len(components)) + b"".join(bytes([i, 0x11 * (i > 1)]) for i in components)
        parts.append(b"\xff\xda" + header + bytes([first, last, bits]))
    return b"".join(parts) + (b"\xff\xd9" if ended else b"")


ONE_SCAN = [((1, 2, 3), 0, 63, 0)]
THREE_SCANS = [((component,), 0, 63, 0) for component in (1, 2, 3)]
