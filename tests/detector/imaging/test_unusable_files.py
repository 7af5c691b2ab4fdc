"""Files that are not images, unsupported encodings, and damage: each error names the problem."""

import struct

import pytest

from detector.errors import DamagedImage, EmptyImage, NotAnImage
from detector.imaging.image import read_image
from tests.detector.imaging.image_builders import encode, gradient, png, png_chunk, tiff


def jpeg_with_precision(bits):
    data = bytearray(encode(gradient(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = bits
    return bytes(data)


def test_an_empty_file_is_refused():
    with pytest.raises(EmptyImage, match=r"no bytes.*JPEG"):
        read_image(b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html><body>404", "is an XML, SVG or HTML document"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (b"https://example.com/cat.jpg", "is a URL, and URLs are not downloaded"),
        (b'{"error": "not found"}', "starts with '{"),
        (b"BMW is a maker of cars", "starts with 'BMW is a"),
        (b"a", "starts with 'a'"),
        (b"\x00\x01\x02\x03", "the bytes 00 01 02 03"),
        (b"\x89PNG", "the bytes 89 50 4e 47"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "a Git LFS pointer instead of an image; 'git lfs pull'"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a raw file of a camera"),
        (b"FUJIFILMCCD-RAW 0201", "a raw file of a camera"),
        (b"IIRO\x08\0\0\0", "a raw file of a camera"),
        (b"IIU\0\x08\0\0\0", "a raw file of a camera"),
        (b"%PDF-1.7", "a PDF"),
        (b"II+\0\x08\0\0\0" + bytes(20), "a BigTIFF"),
        (b"MM\0+\0\x08\0\0" + bytes(20), "a BigTIFF"),
        (b"\x89PNG\r\n\x1a\n" + png_chunk(b"CgBI", b"\x50\0\x20\x02") + png(1, 1, b"\0\1\2\3")[8:], "a PNG of an iOS app (CgBI)"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\x10\x10", "JPEG XL"),
        (b"\0\0\1\0\1\0\x10\x10", "an icon (ICO)"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"P6\n2 2\n255\n", "a Netpbm image"),
        (b"P3 # comment", "a Netpbm image"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"Rar!\x1a\7\0", "a RAR or 7z archive"),
        (b"7z\xbc\xaf\x27\x1c", "a RAR or 7z archive"),
        (b"PK\3\4", "a ZIP archive"),
        (b"data:image/jpeg;base64,/9j/4AAQ", "base64"),
        (b"/9j/4AAQSkZJRg", "base64"),
    ],
)
def test_other_file_types_are_named(data, message):
    with pytest.raises(NotAnImage, match=r"JPEG, PNG, WebP, GIF, BMP, TIFF or MPO") as refusal:
        read_image(data)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff({256: (3, 4), 257: (3, 3), 259: (3, 34925)}), "method 34925"),
        (tiff({256: (3, 4), 257: (3, 3), 277: (3, 200)}), "200 samples"),
        (jpeg_with_precision(12), "has 12 bits per sample"),
        (tiff({256: (3, 4), 257: (3, 3), 258: (3, 12), 262: (3, 0)}, bytes(18)), "pixels of an unsupported kind"),
        (tiff({254: (4, 1), 256: (3, 4), 257: (3, 3)}, bytes(12)), "the first page of the TIFF is only a preview"),
        (b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 4, 3, 1, 8, 1) + bytes(20), "run-length"),
    ],
)
def test_unsupported_encodings_are_refused(data, message):
    with pytest.raises(NotAnImage, match=message):
        read_image(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", b"a\0b") + png(1, 1, b"\0\1\2\3")[8:], "its first chunk is not its header"),
        (encode(gradient(), "TIFF")[:1000], r"the TIFF is truncated after 1,000 bytes: strips are missing\. Send the whole file"),
    ],
)
def test_damage_is_described_correctly(data, message):
    with pytest.raises(DamagedImage, match=message):
        read_image(data)
