"""Image files before they are decoded: format, claimed size, orientation, and an upper bound of the decoding work.

Headers are read and metadata is dropped before Pillow reads a byte. So a decompression bomb is refused without using memory, and a damaged
EXIF block or a very long text does no harm. This also prevents Pillow's warnings, which threads cannot catch safely.
"""

import re
import struct
from collections.abc import Callable

from detector.errors import DamagedImage, NotAnImage
from detector.imaging.formats.bmp import parse_bmp
from detector.imaging.formats.gif import parse_gif
from detector.imaging.formats.image_file import ACCEPTED_FORMATS, ImageFile, ImageFormat
from detector.imaging.formats.jpeg import parse_jpeg
from detector.imaging.formats.png import parse_png
from detector.imaging.formats.tiff import parse_tiff
from detector.imaging.formats.webp import parse_webp
from detector.messages import count_of


def open_image_file(image_bytes: bytes) -> ImageFile:
    """Read the headers of an image file without decoding pixels.

    Raises:
        NotAnImage: The format is not supported.
        DamagedImage: A header is truncated or corrupt.
        ImageTooLarge: The tiles or strips of a TIFF exceed a limit.
    """
    for name, (signature, parse) in _PARSERS.items():
        if signature.match(image_bytes):
            try:
                return parse(image_bytes)
            except (struct.error, IndexError) as error:
                raise DamagedImage(
                    f"the {name} ends within its header, after {count_of(len(image_bytes), 'byte')}. Send the whole file."
                ) from error
    for description, signature in _OTHER_FILES.items():
        if signature.match(image_bytes):
            raise NotAnImage(f"the image is {description}. Send a {ACCEPTED_FORMATS}.")
    head = image_bytes[:24]
    start = repr(head.decode("ascii")) if re.fullmatch(rb"[\t-\r -~]+", head) else f"the bytes {head[:8].hex(' ')}"
    raise NotAnImage(f"the image format is unknown: the file starts with {start}. Send a {ACCEPTED_FORMATS}.")


_PARSERS: dict[ImageFormat, tuple[re.Pattern[bytes], Callable[[bytes], ImageFile]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), parse_jpeg),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n(?!.{4}CgBI)", re.DOTALL), parse_png),
    "WebP": (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), parse_webp),
    "GIF": (re.compile(rb"GIF8[79]a"), parse_gif),
    "BMP": (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), parse_bmp),
    "TIFF": (re.compile(rb"II\*\0|MM\0\*"), parse_tiff),
}
_OTHER_FILES = {  # the limits on white space keep each match short, because matching holds the GIL
    "a BigTIFF, which scanners and microscopes write": re.compile(rb"II\+\0|MM\0\+"),
    "a PNG of an iOS app (CgBI), which only Apple's software reads": re.compile(rb"\x89PNG\r\n\x1a\n.{4}CgBI", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"),
    "an icon (ICO)": re.compile(rb"\0\0\x01\0[^\0]\0"),
    "a Photoshop file": re.compile(rb"8BPS"),
    "a Netpbm image (PPM, PGM or PBM)": re.compile(rb"P[1-6][\s#]"),
    "a NumPy array": re.compile(rb"\x93NUMPY"),
    "a RAR or 7z archive": re.compile(rb"Rar!|7z\xbc\xaf"),
    "HEIC or AVIF, which some phones write": re.compile(rb".{4}ftyp(hei|hev|mif|msf|avi)", re.DOTALL),
    "a raw file of a camera (CR3, RAF, ORF or RW2)": re.compile(rb".{4}ftypcrx|FUJIFILMCCD-RAW|IIR[OS]|IIU\0", re.DOTALL),
    "a video": re.compile(rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ", re.DOTALL),
    "a PDF": re.compile(rb"%PDF"),
    "a ZIP archive": re.compile(rb"PK\x03\x04"),
    "compressed with gzip": re.compile(rb"\x1f\x8b"),
    "a Git LFS pointer instead of an image; 'git lfs pull' downloads the image": re.compile(rb"version https://git-lfs\.github\.com/"),
    "a URL, and URLs are not downloaded": re.compile(rb"\s{0,100}(?i:https?|ftp|file|s3)://"),
    "an XML, SVG or HTML document": re.compile(rb"(\xef\xbb\xbf)?\s{0,100}<(\?xml|!doctype|!--|svg|html|annotation)", re.IGNORECASE),
    "damaged: its bytes were converted to text, which corrupts them": re.compile(
        rb"\xef\xbf\xbd(\xef\xbf\xbd){2}|\xef\xbf\xbdPNG|\xc3\xbf\xc3\x98\xc3\xbf|\xc2\x89PNG"  # UTF-8 of U+FFFD, or of bytes as Latin-1
    ),
    "base64 text, which must be decoded first": re.compile(rb"data:image/|/9j/|iVBORw0KGgo|UklGR|R0lGOD"),
}
