"""Image files that are damaged, truncated, of another type or too large."""

import random
import resource
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from detector.errors import DamagedImage, EmptyImage, ImageError, ImageTooLarge, NotAnImage
from detector.imaging.image import read_image
from tests.detector.imaging.image_builders import encode, exif_with_orientation, gradient, png_chunk


def png(width, height, pixels, *extra, depth=8, colour=2):
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + png_chunk(b"IDAT", zlib.compress(pixels)) + png_chunk(b"IEND", b"")


def tiff(tags, pixels=b""):
    """Build a TIFF of one page. tags: number -> (type, value). Tag 273, the offset of the pixels, is added."""
    tags = {273: (4, 8 + 2 + 12 * (len(tags) + 1) + 4), **tags}
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels


def jpeg_with_precision(bits):
    data = bytearray(encode(gradient(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = bits
    return bytes(data)


def webp(*chunks):
    body = b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


DAMAGED_EXIF = (
    b"",
    b"II",
    b"II*\0\xff\xff\xff\xff",
    b"II*\0\x08\0\0\0\xff\xff" + bytes(11),
    b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\xff\xff\xff\xff\xff\xff\xff\xff",
)


@pytest.mark.parametrize("exif", DAMAGED_EXIF)
def test_a_damaged_exif_block_is_ignored(exif):
    image = gradient()
    plain = encode(image, "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 8 + len(exif)) + b"Exif\0\0" + exif
    np.testing.assert_array_equal(read_image(plain[:2] + segment + plain[2:]), read_image(plain))
    data = encode(image, "PNG")
    wrong_checksum = struct.pack(">I", len(exif)) + b"eXIf" + exif + b"\0\0\0\0"
    np.testing.assert_array_equal(read_image(data[:33] + wrong_checksum + data[33:]), image)


def test_a_compressed_text_bomb_is_ignored():
    bloated = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9))
    assert read_image(png(1, 1, b"\0\1\2\3", bloated)).tolist() == [[[1, 2, 3]]]


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


def two_images(image, form):
    """Encode the image and a second image after it."""
    return encode(image, form, save_all=True, append_images=[Image.fromarray(gradient()[::-1])])


PLANES = gradient().transpose(2, 0, 1).tobytes()
FIRST_PLANE = 8 + 2 + 12 * 8 + 4 + 12 + 6
PLANAR = (
    b"II*\0"
    + struct.pack("<IH", 8, 8)
    + b"".join(
        struct.pack("<HHII", *entry)
        for entry in (
            (256, 3, 1, 24),
            (257, 3, 1, 17),
            (258, 3, 3, FIRST_PLANE - 6),
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (273, 4, 3, FIRST_PLANE - 18),
            (277, 3, 1, 3),
            (284, 3, 1, 2),
        )
    )
    + bytes(4)
    + struct.pack("<3I", *(FIRST_PLANE + plane * 24 * 17 for plane in range(3)))
    + struct.pack("<3H", 8, 8, 8)
    + PLANES
)
COMPLETE = {
    "jpeg": encode(gradient(), "JPEG", exif=exif_with_orientation(6)),
    "progressive": encode(gradient(), "JPEG", progressive=True),
    "cmyk": encode(Image.fromarray(gradient()).convert("CMYK"), "JPEG"),
    "mpo": two_images(gradient(), "MPO"),
    "png": encode(gradient(), "PNG", exif=exif_with_orientation(6)),
    "palette": encode(Image.fromarray(gradient()).quantize(16), "PNG", transparency=3),
    "grey16": encode(gradient()[..., 0].astype(np.uint16) * 257, "PNG"),
    "apng": two_images(gradient(), "PNG"),
    "gif": two_images(Image.fromarray(gradient()).quantize(16), "GIF"),
    "webp": encode(gradient(), "WEBP", exif=exif_with_orientation(6)),
    "animated webp": two_images(gradient(), "WEBP"),
    "bmp": encode(gradient(), "BMP"),
    "bmp palette": encode(Image.fromarray(gradient()).quantize(16), "BMP"),
    "tiff": two_images(gradient(), "TIFF"),
    "tiff jpeg": encode(gradient(), "TIFF", compression="jpeg"),
    "tiff tiled": encode(gradient(), "TIFF", compression="tiff_lzw", tiffinfo={322: 16, 323: 16}),
    "tiff planar": PLANAR,
}


@pytest.mark.parametrize("name", COMPLETE)
def test_a_file_cut_anywhere_is_refused_unless_its_pixels_are_complete(name):
    expected = read_image(COMPLETE[name])
    refusals = []
    for cut in range(1, len(COMPLETE[name])):
        try:
            decoded = read_image(COMPLETE[name][:cut])
        except ImageError as refusal:
            refusals.append(str(refusal))
        else:
            np.testing.assert_array_equal(decoded, expected)
    assert len(refusals) > 20
    assert all(refusal.endswith(".") for refusal in refusals)


def test_the_error_for_a_truncated_image_names_the_truncation(shared):
    data = (shared / "photos" / "dog.jpg").read_bytes()
    with pytest.raises(DamagedImage, match=r"the JPEG is truncated or corrupt \(.*truncated.*\); received: 80,000 bytes"):
        read_image(data[:80_000])


def gif(width, height, frame_width, frame_height):
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b","
        + struct.pack("<4HB", 0, 0, frame_width, frame_height, 0)
        + b"\x08\x01\x00\0;"
    )


JPEG_60000 = encode(gradient(), "JPEG").replace(struct.pack(">HH", 17, 24), struct.pack(">HH", 60_000, 60_000))
BOMBS = {
    "png": png(60_000, 60_000, bytes(1000)),
    "png long": png(63_000_000, 1, bytes(1000)),
    "jpeg": JPEG_60000,
    "gif": gif(60_000, 60_000, 1, 1),
    "gif frame": gif(1, 1, 60_000, 60_000),
    "gif frame below pillow's error": gif(1, 1, 12_000, 12_000),
    "bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 60_000, -60_000, 1, 24, 0) + bytes(40),
    "bmp os/2": b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 60_000, 60_000, 1, 24) + bytes(40),
    "tiff": tiff({256: (4, 60_000), 257: (4, 60_000), 262: (3, 1)}, bytes(100)),
    "tiff tile": tiff({256: (4, 16), 257: (4, 16), 259: (3, 8), 322: (4, 65_536), 323: (4, 65_536)}, bytes(100)),
    "webp": webp((b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 16_000, 16_000) + bytes(100))),
    "webp lossless": webp((b"VP8L", b"\x2f" + struct.pack("<I", 15_999 | 15_999 << 14) + bytes(100))),
    "webp extended": webp((b"VP8X", bytes(4) + (59_999).to_bytes(3, "little") * 2), (b"VP8 ", bytes(100))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_from_its_header_without_using_memory(name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageTooLarge, match=r"(60,000 x 60,000|12,000 x 12,000|16,000 x 16,000|63,000,000 x 1|65,536 x 65,536) pixels"):
        read_image(BOMBS[name])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes


PROGRESSIVE = encode(gradient(), "JPEG", progressive=True)
DAMAGED = {
    "two sizes": png(1, 1, b"\0\1\2\3", png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))),
    "0 x 5": png(0, 5, b""),
    "no palette": png(1, 1, b"\0\1", colour=3),
    "chunks": png(1, 1, b"\0\1\2\3", *[png_chunk(b"tEXt", b"")] * 100_001),
    "segments": b"\xff\xd8" + b"\xff\xfe\0\2" * 100_001,
    "extensions": b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\0" * 100_001,
    "scans": PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2] * 100,
    "past the end": tiff({256: (3, 4), 257: (3, 3), 258: (3, 8)}).replace(struct.pack("<HHI", 258, 3, 1), struct.pack("<HHI", 258, 3, 99)),
    "values of type": tiff({256: (12, 4), 257: (3, 3)}),
    "first frame": b"GIF89a\1\0\1\0\0\0\0;",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_the_error_names_the_damage(damage):
    with pytest.raises(DamagedImage, match=damage):
        read_image(DAMAGED[damage])


def mutate(data, rng):
    """Change, remove, repeat or replace a few bytes."""
    body = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randrange(min(len(body), rng.choice([64, len(body)]))) if body else 0
        other = COMPLETE[rng.choice(list(COMPLETE))]
        match rng.randrange(6):
            case 0:
                body[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                size = rng.choice([1, 2, 4])
                body[at : at + size] = rng.choice([0, 1, 0x7F, 0x80, 0xFF]).to_bytes() * size
            case 2:
                del body[at : at + rng.randrange(40)]
            case 3:
                body[at:at] = body[at : at + rng.randrange(60)]
            case 4:
                body[at:] = other[rng.randrange(len(other)) :]
            case 5:
                del body[at:]
    return bytes(body)


def correct_checksums(data):
    """Correct the checksums of a damaged PNG, so that more of the decoder sees the damage."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        parts.append(data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end])))
        at = end + 4
    return b"".join(parts)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_mutated_file_is_read_or_raises_image_error(name):
    rng = random.Random(name)
    refusals = []
    for _ in range(100):
        data = mutate(COMPLETE[name], rng)
        try:
            decoded = read_image(correct_checksums(data) if data.startswith(b"\x89PNG") else data, max_pixels=1_000_000)
        except ImageError as refusal:
            refusals.append(str(refusal))
        else:
            assert decoded.dtype == np.uint8
            assert decoded.shape[2:] == (3,)
    assert refusals
    assert all(refusal.endswith(".") for refusal in refusals)


def test_several_threads_read_the_same_images():
    files = list(COMPLETE.values()) * 8
    with ThreadPoolExecutor(8) as threads:
        for sequential, parallel in zip(map(read_image, files), threads.map(read_image, files), strict=True):
            np.testing.assert_array_equal(sequential, parallel)
