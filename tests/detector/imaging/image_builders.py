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


def png(width, height, pixels, *extra, depth=8, colour=2):
    """Build a PNG. pixels: rows with their filter bytes; extra: chunks before the pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + png_chunk(b"IDAT", zlib.compress(pixels)) + png_chunk(b"IEND", b"")


def tiff(tags, pixels=b""):
    """Build a TIFF of one page. tags: number -> (type, value). Tag 273, the offset of the pixels, is added."""
    tags = {273: (4, 8 + 2 + 12 * (len(tags) + 1) + 4), **tags}
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels
