"""Structurally valid images with extreme parameters: every format stays within bounds of CPU time and memory."""

import io
import random
import struct
import zlib

import pytest
from PIL import Image

from tests.detector.imaging.image_builders import jpeg_tables, png_chunk

MB = 2**20
MAX_FILE = 20 * MB  # the largest body that the service accepts by default
PROFILE_BOMB = zlib.compress(bytes(30 * MB), 9)


def random_size(rng, max_pixels):
    """Choose a size: square, very wide, very tall, or larger than allowed."""
    width, height = rng.choice([(1, 1), (1, 65_535), (65_535, 1), (2, 32_768), (0, 0), (0, 0), (0, 0)])
    if width == 0:
        width = rng.choice([7, 100, 1000, 4000, 8000, 16_000])
        height = min(65_535, rng.choice([max_pixels // width, max_pixels // width, max_pixels // width + 1, 100]))
    return width, max(1, height)


def exif(rng):
    count = rng.choice([0, 1, 1000, 5000])
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", min(65_535, count)) + rng.randbytes(12 * count)


def random_metadata(rng):
    """Return metadata of 0 to 4 MB."""
    return bytes(rng.choice([0, 1, 1000, 65_000, 4 * MB]))


def jpeg_file(rng, max_pixels):
    width, height = random_size(rng, max_pixels)
    count = rng.choice([1, 3, 4])
    frame = rng.choice([0xC0, 0xC1, 0xC2, 0xC2])
    sampling = [rng.choice([0x11, 0x22, 0x41, 0x44]) if index == 0 else 0x11 for index in range(count)]
    segments = [b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in [exif(rng)[:65_000]] * rng.choice([0, 1, 50])]
    segments += [b"\xff\xe2\xff\xff" + bytes(65_533)] * rng.choice([0, 1, 60])  # colour profile
    segments += [b"\xff\xfe\0\2"] * rng.choice([0, 1, 1, 1, 4000, 100_001])
    segments += jpeg_tables() * rng.choice([1, 1, 1, 1, 1, 1, 200, 50_000])
    if rng.random() < 0.3:
        segments.append(b"\xff\xdd\0\4" + struct.pack(">H", rng.choice([1, 100, 65_535])))
    header = struct.pack(">HBHHB", 8 + 3 * count, 8, height, width, count)
    segments.append(b"\xff" + bytes([frame]) + header + b"".join(bytes([i + 1, sampling[i], i > 0]) for i in range(count)))
    scans = rng.choice([1, 1, count, 1000]) if frame != 0xC2 else rng.choice([1, 10, 20, 64, 65])
    for index in range(scans):
        members = list(range(1, count + 1)) if scans == 1 or (frame == 0xC2 and index == 0) else [1 + index % count]
        first, last = (0, 63) if frame != 0xC2 else (0, 0) if index == 0 else rng.choice([(1, 5), (1, 63), (6, 63)])
        bits = rng.choice([0x00, 0x01, 0x10, 0x21]) if frame == 0xC2 else 0
        spec = b"".join(bytes([member, 0x11 * (member > 1)]) for member in members)
        scan = b"\xff\xda" + struct.pack(">HB", 6 + len(spec), len(members)) + spec + bytes([first, last, bits])
        pixels = bytes(min(18 * MB // scans, 1000 + 2 * width * height))  # zeros are valid codes of the usual tables
        noise = rng.randbytes(2000).replace(b"\xff", b"\xff\0")
        data = rng.choice([pixels, pixels, pixels, b"", noise, b"\xff\xd0\xff\xd1" * 5000]) if index else pixels
        segments.append(scan + data)
    return b"\xff\xd8" + b"".join(segments) + rng.choice([b"\xff\xd9", b"\xff\xd9", b""]), width * height


def png_file(rng, max_pixels):
    width, height = random_size(rng, max_pixels)
    colour, depth = rng.choice([(0, 1), (0, 16), (2, 8), (2, 16), (3, 1), (3, 8), (4, 16), (6, 8), (6, 16)])
    interlace = rng.choice([0, 1])
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    length = (width * channels * depth // 8 + 2) * (height + 7) * (2 if interlace else 1)
    compressor, parts = zlib.compressobj(1), []
    for start in range(0, min(length, 600 * MB) + rng.choice([0, 0, 40 * MB]), MB):
        parts.append(compressor.compress(bytes(min(MB, length - start) if length > start else MB)))
    pixels = b"".join(parts) + compressor.flush()
    step = max(1, len(pixels) // rng.choice([1, 10, 5000, 90_000]))
    extra = [png_chunk(b"PLTE", bytes(3 * rng.choice([1, 256])))] if colour == 3 else []
    extra += [png_chunk(b"tRNS", bytes(rng.choice([1, 256])))] if colour == 3 and rng.random() < 0.5 else []
    extra += [png_chunk(b"iCCP", b"x\0\0" + PROFILE_BOMB)] * rng.choice([0, 1, 20])
    extra += [png_chunk(b"zTXt", b"x\0\0" + zlib.compress(random_metadata(rng)))] * rng.choice([0, 1, 20])
    extra += [png_chunk(b"eXIf", exif(rng)[6:])] * rng.choice([0, 1, 20])
    extra += [png_chunk(b"tEXt", b"x\0")] * rng.choice([0, 1, 90_000])
    extra += [png_chunk(b"acTL", struct.pack(">II", 1000, 0))] + [png_chunk(b"fcTL", bytes(26))] * rng.choice([0, 1000])
    body = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)) + b"".join(extra)
    body += b"".join(png_chunk(b"IDAT", pixels[at : at + step]) for at in range(0, len(pixels), step))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b""), width * height


def gif_file(rng, max_pixels):
    width, height = random_size(rng, max_pixels)
    frame = rng.choice([(width, height), (1, 1), (min(width, 100), min(height, 100))])
    palette = rng.choice([0, 0, 0x80, 0x87])
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, palette, 0, 0) + bytes(6 << (palette & 7) if palette else 0)
    extensions = b"!\xf9\x04\1\0\0\0\0" * rng.choice([0, 1, 1000, 90_000]) + b"!\xfe\xff" * rng.choice([0, 1]) + b""
    if extensions.endswith(b"\xff"):
        extensions += bytes(255) + (b"\xff" + bytes(255)) * rng.choice([0, 10_000]) + b"\0"
    codes = rng.choice([b"\x04" * 255, b"\x00" * 255, b"\x24\x49\x92" * 85, rng.randbytes(255)])  # clear codes, or pixels
    blocks = (b"\xff" + codes) * rng.choice([1, 1000, 40_000]) + b"\0"
    descriptor = struct.pack("<4HB", rng.choice([0, 5]), 0, *frame, rng.choice([0, 0x40, 0x87]))
    image = b"," + descriptor + bytes(768 if descriptor[-1] & 0x80 else 0) + bytes([rng.choice([2, 8])]) + blocks
    return head + extensions + image * (rng.choice([1, 500]) if len(image) < 10_000 else 1) + b";", width * height


def bmp_file(rng, max_pixels):
    width, height = random_size(rng, max_pixels)
    bits = rng.choice([1, 4, 8, 16, 24, 32])
    colours = rng.choice([0, 1, 256, 65_536, 2**31])
    header = rng.choice([40, 108, 124])
    sign = rng.choice([1, -1])
    compression = rng.choice([0, 0, 0, 1, 3])
    body = struct.pack("<IiiHHIIiiII", header, width, sign * height, 1, bits, compression, 0, 0, 0, colours, 0).ljust(header, b"\0")
    pixels = bytes(min(MAX_FILE, (width * bits // 8 + 4) * height))
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 14 + header + 4 * min(colours, 65_536)) + body + bytes(1024) + pixels, width * height


def webp_file(rng, max_pixels):
    width, height = (min(16_383, side) for side in random_size(rng, max_pixels))
    out = io.BytesIO()
    frames = rng.choice([1, 1, 3])
    image = Image.new(rng.choice(["RGB", "RGBA"]), (width, height), rng.randrange(2**24))
    options = {"lossless": True, "quality": 0} if rng.random() < 0.5 else {"quality": 1}
    animation = {"save_all": True, "append_images": [image] * (frames - 1), "allow_mixed": False} if frames > 1 else {}
    small = width * height <= 4_000_000
    image.save(out, "WEBP", method=0, **options, **(animation if small else {}))
    data = out.getvalue()
    if frames > 1 and data[12:16] == b"VP8X":
        data += data[data.rindex(b"ANMF") :] * rng.choice([1, 1000]) if len(data) < 10_000 else b""
    extra = [(kind, random_metadata(rng)) for kind in (b"ICCP", b"XMP ", b"junk") if rng.random() < 0.5] + [(b"EXIF", exif(rng)[6:])]
    extra += [(b"junk", b"")] * rng.choice([0, 90_000, 100_001])
    data += b"".join(kind + struct.pack("<I", len(body)) + body + bytes(len(body) & 1) for kind, body in extra)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:], width * height


def tiff_file(rng, max_pixels):
    width, height = random_size(rng, max_pixels)
    samples, bits = rng.choice([(1, 1), (1, 8), (1, 16), (3, 8), (4, 8), (3, 16), (5, 8)])
    compression = rng.choice([1, 5, 8, 8, 32773])
    planar = rng.choice([1, 1, 2])
    tile = rng.choice([None, None, (16, 16), (256, 256), (2048, 2048), (4096, 16), (65_536, 16), (width, height)])
    rows = rng.choice([1, 16, height, 2**31])
    area = tile if tile else (width, min(rows, height))
    count = -(-width // max(1, area[0])) * -(-height // max(1, area[1])) * (samples if planar == 2 else 1)
    count = rng.choice([count, count, count, 1, count + 5])
    raw = area[0] * area[1] * (1 if planar == 2 else samples) * bits // 8 + 1
    payload = zlib.compress(bytes(min(raw, 64 * MB)), 1) if compression == 8 else bytes(min(raw, 4 * MB))
    shared = rng.random() < 0.3 or count * len(payload) > MAX_FILE
    count = min(count, 200_000)
    offsets = [("payload", 0 if shared else index * len(payload)) for index in range(count)]
    entries = {
        256: [width], 257: [height], 258: [bits] * samples, 259: [compression], 262: [2 if samples >= 3 else 1], 277: [samples],
        284: [planar], 34675: list(bytes(rng.choice([1, MB]))),
    }  # fmt: skip
    if rng.random() < 0.2:
        entries[rng.choice([273, 279, 322, 325])] = [1]  # strips and tiles in one directory
    entries |= {322: [tile[0]], 323: [tile[1]], 324: offsets, 325: [len(payload)] * count} if tile else {
        278: [rows], 273: offsets, 279: [len(payload)] * count
    }  # fmt: skip
    directory_size = 2 + 12 * len(entries) + 4
    start = 8 + directory_size + sum(4 * len(values) for values in entries.values() if len(values) > 1)
    body, extra = b"", b""
    for tag, values in sorted(entries.items()):
        numbers = [start + value[1] if isinstance(value, tuple) else value for value in values]
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack("<I", 8 + directory_size + len(extra))
        body += struct.pack("<HHI", tag, 4, len(numbers)) + packed
    next_page = rng.choice([0, 8])  # 8: the page refers to itself
    directory = struct.pack("<H", len(entries)) + body + struct.pack("<I", next_page)
    return b"II*\0\x08\0\0\0" + directory + extra + payload * (1 if shared else count), width * height


def tiff_jpeg_file(rng, max_pixels):
    """Build a TIFF of JPEG strips with extreme numbers of segments and scans."""
    out = io.BytesIO()
    width = rng.choice([8, 64, 1000])
    Image.new("L", (width, 8), 200).save(out, "JPEG")
    encoded = out.getvalue()
    start = encoded.index(b"\xff\xda")
    before, after = (b"\xff\xe0\0\2" * rng.choice([0, 0, 8, 16, 10_000]) for _ in range(2))
    scans = encoded[start:-2] * rng.choice([1, 1, 1, 2, 100])
    strip = encoded[:2] + before + encoded[2:start] + after + scans + encoded[-2:]
    count = max(1, min(rng.choice([1, 100, 8191]), max_pixels // (8 * width), MAX_FILE // (len(strip) + 8)))
    scalars = {256: width, 257: 8 * count, 258: 8, 259: 7, 262: 1, 277: 1, 278: 8}
    end = 8 + 2 + 12 * (len(scalars) + 2) + 4
    first = end + 8 * count
    offsets = [first + index * len(strip) for index in range(count)]
    lists = {273: (end, offsets), 279: (end + 4 * count, [len(strip)] * count)}
    if count == 1:
        lists = {tag: (values[0], values) for tag, (_, values) in lists.items()}
    entries = {tag: (1, value) for tag, value in scalars.items()} | {tag: (count, at) for tag, (at, _) in lists.items()}
    directory = b"".join(struct.pack("<HHII", tag, 4, number, value) for tag, (number, value) in sorted(entries.items()))
    values = b"".join(struct.pack(f"<{count}I", *numbers) for _, numbers in lists.values())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + values + strip * count, 8 * width * count


BUILDERS = {
    "jpeg": jpeg_file,
    "png": png_file,
    "gif": gif_file,
    "bmp": bmp_file,
    "webp": webp_file,
    "tiff": tiff_file,
    "tiff with jpeg strips": tiff_jpeg_file,
}


def check_costs(build, seeds, max_pixels, meter):
    """Check each file's CPU time against a bound linear in its pixels and bytes, and the peak memory. Return how many are decoded."""
    decoded, start = 0, meter(b"empty").peak_bytes
    for seed in seeds:
        data, pixels = build(random.Random(seed), max_pixels)
        if len(data) > MAX_FILE:
            continue
        cost = meter(data)
        bound = 0.5 + 4 * min(pixels, 2 * max_pixels) / 64e6 + len(data) / MAX_FILE
        assert cost.cpu_seconds < bound, f"seed {seed}: {cost} for {pixels:,} pixels, {len(data):,} bytes"
        assert cost.peak_bytes - start < 200 * MB + 21 * max_pixels, f"seed {seed}: {cost} for {pixels:,} pixels, {len(data):,} bytes"
        decoded += not cost.refused
    return decoded


@pytest.mark.parametrize("kind", BUILDERS)
def test_extreme_files_have_bounded_costs(kind, cost_of):
    assert check_costs(BUILDERS[kind], range(6), 1_000_000, cost_of) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", BUILDERS)
def test_many_extreme_files_of_up_to_the_maximum_size_have_bounded_costs(kind, cost_of):
    assert check_costs(BUILDERS[kind], range(1000, 1040), 64_000_000, cost_of) > 0
