"""What is meant by the photos on a command line: files, folders, patterns, lists."""

import os
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from detector.errors import SettingError
from detector.imaging.suffixes import IMAGE_SUFFIXES

LIST = ".txt"
"""The ending of a list of photos, a path in each line."""
COPY = ".boxes"
"""The end of an annotated copy's name, before its ending."""


def photo_paths(arguments: Iterable[Path], *, lists: bool = False) -> tuple[list[Path], list[str]]:
    """Every file, in the order of the arguments, and a sentence for each argument that means none.

    A folder means the photos in it and below, by their endings, without hidden ones and without our own annotated copies. A pattern
    ("*.jpg", "**/*.png") that the shell has not replaced means the files that match; what is there under that very name comes first.
    lists: NAME.txt means the paths in its lines, from the current folder. Raises OSError and SettingError for a list
    that cannot be read.
    """
    paths: list[Path] = []
    sentences: list[str] = []
    for argument in arguments:
        if argument.is_dir():
            found = _within(argument)
            sentence = f"{argument}: no photo in this folder or below it; photos end in {', '.join(sorted(IMAGE_SUFFIXES))}."
        elif not argument.exists() and has_magic(str(argument)):
            matches = map(Path, glob(str(argument), recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
            found = sorted(path for path in matches if not path.is_dir())
            sentence = f"{argument}: no file matches this pattern."
        elif lists and argument.suffix.lower() == LIST and argument.is_file():
            found, sentence = _listed(argument), f"{argument}: no path in this list."
        else:
            found, sentence = [argument], ""
        paths += found
        if not found:
            sentences.append(sentence)
    return paths, sentences


def _listed(file: Path) -> list[Path]:
    data = file.read_bytes()
    if b"\0" in data:
        raise SettingError(f"{file}: a list of photos is text, a path in each line; this has bytes of 0. Give a photo its own ending.")
    lines = data.splitlines()
    return [Path(os.fsdecode(line.strip())) for line in lines if line.strip()]


def _within(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if _is_photo(path.relative_to(folder)) and path.is_file())


def _is_photo(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith(COPY) and not hidden
