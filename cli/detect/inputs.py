"""Find the image files that command-line arguments name, and read them."""

import os
import re
import stat
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path
from typing import BinaryIO

from detector.errors import ImageError, SettingError
from detector.imaging.suffixes import ANNOTATED_COPY, FOREIGN_FOLDERS, IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES
from detector.text_encoding import decode_text

STDIN = Path("-")
_WIDE_OR_UTF_8 = (BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE)  # without a byte order mark, paths are bytes
LIST_SUFFIX = ".txt"  # A text file with the path of an image in each line.
MAX_IMAGE_FILE_BYTES = 512 * 2**20  # 64 million pixels of four 16-bit channels, uncompressed.
_TOO_LARGE = ImageError(f"the file has more than {MAX_IMAGE_FILE_BYTES:,} bytes. No image of an allowed size is that large.")


def expand_image_paths(arguments: Iterable[Path], *, lists: bool = False) -> tuple[list[Path], list[str]]:
    """Expand files, folders and patterns to image files, in the order of the arguments.

    Args:
        arguments: A file is used as it is. A folder means the images in it and below, chosen by suffix; hidden files,
            folders of other programs and annotated copies are left out. A pattern ("**/*.png") means the files that match it, unless a
            file has exactly that name.
        lists: Read NAME.txt as a list of paths, relative to the current folder.

    Returns:
        The files, and messages. There is a message for each argument that matches no file, and for each folder that cannot be read.
        A folder with images of unsupported formats also has a message.

    Raises:
        SettingError: A list is not text.
        OSError: A list cannot be read.
    """
    paths: list[Path] = []
    messages: list[str] = []
    for argument in arguments:
        found: list[Path] = []
        if url := re.match(r"(https?|rtsps?|rtmp):/(.*)", str(argument)):
            message = _url_message(f"{url[1]}://{url[2].removeprefix('/')}")
        elif argument.is_dir():
            paths += _images_below(argument, messages)
            continue
        elif not argument.exists() and has_magic(str(argument)):
            matches = map(Path, glob(str(argument), recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
            found = sorted(path for path in matches if not path.is_dir())
            message = f"{argument}: no file matches this pattern."
        elif lists and argument.suffix.lower() == LIST_SUFFIX and argument.is_file():
            found, message = _read_list(argument), f"{argument}: the list has no path."
        else:
            found, message = [argument], ""
        paths += found
        if not found:
            messages.append(message)
    return paths, messages


def _url_message(url: str) -> str:
    if url.startswith("rt"):
        return f"{url}: streams of cameras are not read. Run: ffmpeg -i '{url}' -frames:v 1 image.jpg && boxwright detect image.jpg"
    return f"{url}: URLs are not downloaded. Run: curl --silent --location '{url}' | boxwright detect -"


def _read_list(file: Path) -> list[Path]:
    data = file.read_bytes()
    try:
        if data.startswith(_WIDE_OR_UTF_8):
            data = decode_text(data).encode()
    except UnicodeDecodeError as error:
        raise SettingError(f"{file}: the list is not text in the encoding of its byte order mark. Save it as UTF-8.") from error
    if b"\0" in data:
        raise SettingError(
            f"{file}: a {LIST_SUFFIX} file is read as a list of paths, and this file is binary. Rename it if it is an image."
        )
    return [Path(os.fsdecode(line.strip())) for line in data.splitlines() if line.strip()]


def _unsupported_message(folder: Path, paths: list[Path]) -> str:
    if len(paths) == 1:
        return f"{paths[0]}: skipped, because Boxwright does not read this format. Convert the image to JPEG."
    return f"{folder}: {len(paths):,} images skipped, such as {paths[0]}. Boxwright does not read their formats. Convert them to JPEG."


def _images_below(folder: Path, messages: list[str]) -> list[Path]:
    """Return the images in and below a folder. Add a message if there is none, and about images and folders that cannot be read."""
    files = []
    for root, subfolders, names in os.walk(folder, onerror=lambda error: messages.append(f"{error.filename}: {error.strerror}.")):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name.lower() not in FOREIGN_FOLDERS]
        files += [path for name in names if not name.startswith(".") and (path := Path(root) / name).is_file()]
    files.sort()
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith(ANNOTATED_COPY)]
    if unsupported := [path for path in files if path.suffix.lower() in UNSUPPORTED_SUFFIXES]:
        messages.append(_unsupported_message(folder, unsupported))
    elif not images:
        messages.append(f"{folder}: no image in this folder or below it. Images end in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return images


def read_input(path: Path) -> bytes:
    """Read a whole file; "-" is standard input.

    Raises:
        ImageError: The path is not a regular file, or the file is too large for any image.
        OSError: The file cannot be read.
    """
    if path == STDIN:
        return _read(sys.stdin.buffer)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("this is not a regular file but a pipe, socket or device, which may never end. To read a pipe, use '-'.")
    if status.st_size > MAX_IMAGE_FILE_BYTES:
        raise _TOO_LARGE
    with path.open("rb") as file:
        return _read(file)


def _read(file: BinaryIO) -> bytes:
    data = bytearray()
    while chunk := file.read(2**20):
        data += chunk
        if len(data) > MAX_IMAGE_FILE_BYTES:
            raise _TOO_LARGE
    return bytes(data)
