"""Image files that are damaged, truncated, of another type or too large."""

import random
import resource
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from detector.errors import DamagedImage, ImageError, ImageTooLarge
from detector.imaging.image import read_image
from tests.detector.imaging.image_builders import encode, exif_with_orientation, gradient, png, png_chunk, tiff


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
