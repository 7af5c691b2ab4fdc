"""Annotated copies of photos, in a folder, under names of their own."""

from collections.abc import Iterable
from itertools import count
from pathlib import Path

from cli.detect.inputs import STDIN
from cli.detect.photo_paths import COPY
from detector.imaging.encode import EncodedImage
from weights.atomic_files import atomic_write

SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png"}


class Copies:
    """Writes copies into `folder`, which is there: dog.jpg becomes dog.boxes.jpg, a second dog.png of the same run dog-2.boxes.jpg."""

    def __init__(self, folder: Path, photos: Iterable[Path]) -> None:
        self._folder = folder
        self._taken = {photo.resolve() for photo in photos}  # a photo is never written over, whatever it is called

    def write(self, photo: Path, copy: EncodedImage) -> Path:
        """The copy's path; a copy that an earlier run left there is replaced. Raises OSError."""
        path = self._free("stdin" if photo == STDIN else photo.stem, SUFFIXES[copy.media_type])
        with atomic_write(path) as file:
            file.write(copy.data)
        return path

    def _free(self, stem: str, suffix: str) -> Path:
        names = (f"{stem}{'' if number == 1 else f'-{number}'}{COPY}{suffix}" for number in count(1))
        path = next(path for name in names if (path := self._folder / name).resolve() not in self._taken)
        self._taken.add(path.resolve())
        return path
