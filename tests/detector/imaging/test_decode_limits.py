"""Small files that would cost much CPU time or memory are refused from their headers."""

import io
import struct
import subprocess
import sys
import zlib
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from detector.errors import DamagedImage, ImageTooLarge, NotAnImage
from detector.imaging.formats.jpeg import MAX_SCANS
from detector.imaging.image import read_headers, read_image
from tests.detector.imaging.image_builders import ONE_SCAN, THREE_SCANS, encode, jpeg

MB = 2**20


def tiff(entries, payload):
    """Build a TIFF page. entries: tag -> (type, values); the values `("payload", n)` become offsets in the payload."""
    directory_size = 2 + 12 * len(entries) + 4
    sizes = {1: "B", 3: "H", 4: "I"}
    lists = {tag: len(values) * struct.calcsize(sizes[kind]) for tag, (kind, values) in entries.items()}
    start = 8 + directory_size + sum(size for size in lists.values() if size > 4)
    body, extra = b"", b""
    for tag, (kind, values) in sorted(entries.items()):
        numbers = [start + value[1] if isinstance(value, tuple) else value for value in values]
        packed = struct.pack(f"<{len(numbers)}{sizes[kind]}", *numbers)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack("<I", 8 + directory_size + len(extra))
        body += struct.pack("<HHI4s", tag, kind, len(numbers), packed.ljust(4, b"\0"))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + extra + payload


def tiled_tiff(size, tile, samples, payload, offsets, lengths, *, compression=8):
    entries = {
        256: (4, [size[0]]),
        257: (4, [size[1]]),
        258: (3, [8] * samples),
        259: (3, [compression]),
        262: (3, [2 if samples >= 3 else 1]),
        277: (3, [samples]),
        284: (3, [1]),
        322: (4, [tile[0]]),
        323: (4, [tile[1]]),
        324: (4, [("payload", offset) for offset in offsets]),
        325: (4, lengths),
    }
    return tiff(entries, payload)


def compressed_zeros(count):
    """Compress `count` zeros."""
    compressor = zlib.compressobj(9)
    return b"".join(compressor.compress(bytes(min(MB, count - done))) for done in range(0, count, MB)) + compressor.flush()


def strips(count, *, lengths_tag=279, compression=32773, payload=None, offsets=None, lengths=None):
    """Build a TIFF of `count` strips of 16 x 8 grey pixels."""
    return tiff(
        {
            256: (4, [16]),
            257: (4, [8 * count]),
            258: (3, [8]),
            259: (3, [compression]),
            262: (3, [1]),
            277: (3, [1]),
            278: (4, [8]),
            273: (4, [("payload", offset) for offset in offsets]),
        }
        | ({lengths_tag: (4, lengths)} if lengths_tag else {}),
        payload,
    )


def overlapping_strips(count, lengths_tag):
    """Build strips that each begin with a megabyte of PackBits no-op bytes, and share them."""
    payload = b"\x80" * (count + MB) + bytes([256 - 127, 7])
    offsets = range(count)
    return strips(count, lengths_tag=lengths_tag, payload=payload, offsets=offsets, lengths=[len(payload) - offset for offset in offsets])


def overlapping_tiles(count):
    """Build tiles with their lengths in the tag for strips, which libtiff accepts."""
    data = bytearray(tiled_tiff((16 * count, 16), (16, 16), 1, b"\x80" * (count + MB), range(count), [MB] * count, compression=32773))
    at = data.index(struct.pack("<HH", 325, 4))
    entry = struct.pack("<H", 279) + data[at + 2 : at + 12]
    del data[at : at + 12]
    position = data.index(struct.pack("<HH", 277, 3)) + 12  # directories are sorted by tag
    data[position:position] = entry
    return bytes(data)


def strips_with_segments(count, segments):
    """Build JPEG strips of 16 x 8 pixels with this number of empty application segments each."""
    strip = b"\xff\xd8" + b"\xff\xe0\0\2" * segments + encode(Image.new("L", (16, 8)), "JPEG")[2:]
    offsets = [len(strip) * index for index in range(count)]
    return strips(count, compression=7, payload=strip * count, offsets=offsets, lengths=[len(strip)] * count)


def uncompressed_strips(count):
    """Build a TIFF with overlapping strips of 600 bytes."""
    entries = {256: (4, [600]), 257: (4, [count]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1]), 278: (4, [1])}
    offsets = [("payload", index) for index in range(count)]
    return tiff(entries | {273: (4, offsets), 279: (4, [60] * count)}, bytes(60 * count))


def quantization_tables(count):
    """Build a JPEG of 16 x 16 pixels that defines one quantization table again and again."""
    data = jpeg(16, 16, ONE_SCAN)
    segment = b"\xff\xdb" + struct.pack(">H", 2 + 65 * 1000) + (b"\0" + b"\1" * 64) * 1000
    return data[:2] + segment * (count // 1000) + data[2:]


TILE = compressed_zeros(65_520 * 2048)
PIXELS = compressed_zeros(16 * 976 * 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(jpeg(8000, 8000, [((1,), 0, 63, 0)] * 6000), "two scans of one colour component", id="baseline scans"),
        pytest.param(jpeg(8000, 8000, THREE_SCANS + ONE_SCAN), "two scans of one colour component", id="repeated interleaved scan"),
        pytest.param(jpeg(8, 8, [((1, 2, 3), 0, 0, 0)] * 65, frame=0xC2), rf"more than {MAX_SCANS} scans", id="progressive scans"),
        pytest.param(jpeg(8000, 8000, [((1, 2, 3), 0, 63, 0)] * 9, frame=0xC2), "needs too many passes", id="pixels times scans"),
        pytest.param(jpeg(8000, 8000, ONE_SCAN, frame=0xC9), "arithmetic-coded", id="arithmetic coding"),
        pytest.param(jpeg(8000, 8000, [((1,), 0, 63, 0)]), "lacks scans", id="missing component"),
        pytest.param(
            tiled_tiff((65_535, 1), (65_520, 32_752), 1, TILE, [0, 0], [len(TILE)] * 2), "at most 2048 per side", id="tile height"
        ),
        pytest.param(tiled_tiff((1, 60_000), (60_000, 2048), 1, TILE, [0] * 30, [1] * 30), "at most 2048 per side", id="tile width"),
        pytest.param(tiled_tiff((2049, 1), (2048, 2048), 3, TILE, [0, 1], [9, 9]), "in total; the image has 2,049", id="tile area"),
        pytest.param(
            tiled_tiff((65_535, 976), (16, 976), 3, PIXELS, [0] * 4096, [len(PIXELS)] * 4096),
            "tiles that share bytes",
            id="shared tiles",
        ),
        pytest.param(b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1\1" * 9_000_000, "more than 100,000 blocks", id="gif blocks"),
        pytest.param(overlapping_strips(2000, 279), "strips that share bytes", id="overlapping strips"),
        pytest.param(overlapping_strips(2000, 325), "the TIFF is truncated or corrupt", id="lengths of strips in the tag for tiles"),
        pytest.param(overlapping_strips(2000, None), "the TIFF is truncated or corrupt", id="strips without lengths"),
        pytest.param(overlapping_tiles(2000), "the TIFF is truncated or corrupt", id="lengths of tiles in the tag for strips"),
        pytest.param(uncompressed_strips(20_000), "strips that share bytes", id="overlapping uncompressed strips"),
        pytest.param(strips_with_segments(20, 50_000), "too many scans or segments", id="segments of JPEG strips"),
        pytest.param(strips_with_segments(8000, 12), "JPEG strips have more than 100,000 segments", id="segments of all JPEG strips"),
        pytest.param(quantization_tables(300_000), "bytes of headers", id="quantization tables"),
        pytest.param(b" " * 20_000_000, "the image format is unknown", id="white space"),
        pytest.param(tiled_tiff((64, 64), (64, 64), 3, PIXELS, [0, 1], [9, 9]), r"needs 1 tile and has 2", id="surplus tiles"),
    ],
)
def test_a_small_file_that_needs_much_work_is_refused_without_decoding(data, message, cost_of):
    with pytest.raises((DamagedImage, ImageTooLarge, NotAnImage), match=message):
        read_image(data)
    before = cost_of(b"empty").peak_bytes
    cost = cost_of(data)
    assert cost.refused
    assert cost.cpu_seconds < 1
    assert cost.peak_bytes - before < 20 * MB + 10 * len(data)


@pytest.mark.parametrize(
    ("script", "arguments"), [("jpeg_scans.py", (8000, 8000, 6000)), ("tiff_tile.py", (65_535, 1, 65_520, 32_752, 1, 2))]
)
def test_the_reported_attack_files_are_refused_at_once(script, arguments, shared, tmp_path, cost_of):
    attack = shared / "attacks" / script
    if not attack.is_file():
        pytest.skip(f"needs {attack}")
    target = tmp_path / "attack"
    subprocess.run([sys.executable, str(attack), *map(str, arguments), str(target)], check=True, stdout=subprocess.DEVNULL)
    cost = cost_of(target.read_bytes())
    assert cost.refused
    assert cost.cpu_seconds < 1


@pytest.mark.parametrize("fill", [b"\xff" * 19_000_000, b"\xff\xff\0" * 6_000_000], ids=["before the end marker", "within the pixels"])
def test_fill_bytes_of_a_jpeg_are_removed_before_decoding(fill, cost_of):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 150)).save(file, "JPEG")
    data = file.getvalue()
    cost = cost_of(data.removesuffix(b"\xff\xd9") + fill + b"\xff\xd9")
    assert cost.outcome == "64x48"
    assert cost.cpu_seconds < 1.5


def test_fill_bytes_do_not_change_the_pixels_of_a_jpeg():
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=98, restart_marker_blocks=4, progressive=True)
    data = file.getvalue()
    start = data.index(b"\xff\xda")
    filled = data[:start] + data[start:].replace(b"\xff", b"\xff\xff\xff\xff").replace(b"\xff" * 4 + b"\xda", b"\xff\xda")
    assert filled.count(b"\xff" * 4 + b"\0") > 0
    assert np.array_equal(read_image(filled), read_image(data))


def test_a_sequential_jpeg_with_one_scan_per_component_is_read():
    rng = np.random.default_rng(0)
    channels = [Image.fromarray(rng.integers(0, 256, (17, 24), np.uint8)) for _ in range(3)]
    parts = []
    for number, channel in enumerate(channels, 1):
        data = encode(channel, "JPEG")
        start = data.index(b"\xff\xda")
        parts.append(data[start:-2].replace(b"\xff\xda\0\x08\x01\x01", b"\xff\xda\0\x08\x01" + bytes([number]), 1))
        tables = data[:start]
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 17, 24, 3) + b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    image = read_image(tables.replace(tables[tables.index(b"\xff\xc0") :][:13], frame) + b"".join(parts) + b"\xff\xd9")
    expected = Image.merge("YCbCr", [Image.open(io.BytesIO(encode(channel, "JPEG"))) for channel in channels]).convert("RGB")
    assert np.abs(image.astype(int) - np.asarray(expected)).max() <= 2


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("tile", [None, 16, 256, 1024])
@pytest.mark.parametrize("size", [(100, 70), (300, 20), (700, 1030)])
def test_tiffs_of_usual_layouts_are_read(size, tile, compression):
    if tile and compression == "raw":
        pytest.skip("Pillow writes tiles only when it compresses")
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1] // 10, size[0] // 10, 3), np.uint8)).resize(size)
    out = io.BytesIO()
    image.save(out, "TIFF", compression=compression, tiffinfo={322: tile, 323: tile} if tile else {278: 7 if compression != "jpeg" else 16})
    difference = np.abs(read_image(out.getvalue()).astype(int) - np.asarray(image))
    assert difference.mean() <= (3 if compression == "jpeg" else 0)


def test_a_progressive_jpeg_inside_a_tiff_is_refused():
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "JPEG", progressive=True)
    data = tiled_tiff((16, 16), (16, 16), 3, out.getvalue(), [0], [len(out.getvalue())], compression=7)
    with pytest.raises(DamagedImage, match="JPEG strip that is too large or progressive"):
        read_image(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_files_of_many_tiny_chunks_are_refused(form):
    """Python code reads each chunk. Sixteen PNG files of 97,000 empty chunks took 9 s of processor time in one request."""
    data = encode(Image.new("RGB", (16, 16)), form)
    chunk, at = {
        "PNG": (struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT")), data.find(b"IDAT") - 4),
        "JPEG": (b"\xff\xe0\0\2", 2),
        "WEBP": (b"EXIF" + bytes(4), len(data)),
    }[form]
    for count, refused in ((4000, False), (6000, True)):
        changed = bytearray(data[:at] + chunk * count + data[at:])
        if form == "WEBP":
            changed[4:8] = struct.pack("<I", len(changed) - 8)
        with pytest.raises(DamagedImage, match=r"more than 5,0\d\d (chunks|segments)") if refused else nullcontext():
            read_headers(bytes(changed))


def test_a_jpeg_inside_a_tiff_may_not_have_a_long_run_of_fill_bytes():
    """A search for a marker holds the GIL, so its length is limited."""
    jpeg = encode(Image.new("RGB", (16, 16)), "JPEG")
    for count, refused in ((10, False), (300_000, True)):
        data = jpeg[:2] + b"\xff" * count + jpeg[2:]
        with pytest.raises(DamagedImage, match="JPEG strip") if refused else nullcontext():
            read_headers(tiled_tiff((16, 16), (16, 16), 3, data, [0], [len(data)], compression=7))


def test_a_tiff_with_values_inside_its_directory_is_refused():
    """The offsets of the strips are in an entry that is dropped, so the decoder would read other offsets than those that were checked."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    data = tiff(
        {
            254: (4, [0]),
            256: (4, [16]),
            257: (4, [16]),
            258: (3, [8]),
            259: (3, [1]),
            262: (3, [1]),
            273: (4, [("payload", 0), ("payload", 128)]),
            277: (3, [1]),
            278: (4, [8]),
            279: (4, [128, 128]),
        },
        pixels.tobytes(),
    )
    entry = data.index(struct.pack("<HHI", 273, 4, 2))
    (array,) = struct.unpack_from("<I", data, entry + 8)
    inside = data[:14] + data[array : array + 8] + data[22 : entry + 8] + struct.pack("<I", 14) + data[entry + 12 :]
    np.testing.assert_array_equal(read_image(data)[..., 0], pixels)
    with pytest.raises(DamagedImage, match="overlap its directory"):
        read_image(inside)
