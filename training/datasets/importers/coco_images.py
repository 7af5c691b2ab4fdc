"""Find the images of a COCO file. A `file_name` may differ in case, have other folders, backslashes or URL escapes, or be a URL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from training.data.voc_layout import check_path_length, file_inside, name_key, set_of_name, tail_starts
from training.errors import DatasetError

IMAGE_PARENTS = (".", "images", "img", "data")
"""Usual folders of the images. Supervisely writes img, FiftyOne writes data."""
MAX_FOLDERS = 32
"""Maximum number of folders that are searched for each image."""


def image_folders(annotations: Path, image_set: str) -> list[Path]:
    """Return the usual folders of the images that exist, best first.

    They are the file's folder and its subfolders `images`, `img` and `data`. Each is followed by its subfolders that are named after the
    set, such as train2017 or CVAT's default. The same folders one level up are last.

    Raises DatasetError if there are more than MAX_FOLDERS.
    """
    roots = (annotations.parent, annotations.parent.parent) if annotations.parent.name else (annotations.parent,)
    sets = {set_of_name(annotations.stem), set_of_name(image_set)} - {None}
    words = annotations.stem.lower().split("_")[1:]  # instances_default
    folders = []
    for parent in (root / place for root in roots for place in IMAGE_PARENTS):
        subfolders = sorted(path for path in parent.glob("[!.]*") if path.is_dir())
        folders += [parent, *(path for path in subfolders if set_of_name(path.name) in sets or path.name.lower() in words)]
    folders = [folder for folder in folders if folder.is_dir()]
    if len(folders) > MAX_FOLDERS:
        raise DatasetError(
            f"{annotations}: {len(folders)} folders may have its images; at most {MAX_FOLDERS} are searched. "
            "Name the folder of the images with --photos."
        )
    return folders


@dataclass(frozen=True)
class FoundImage:
    """An image file of a data set."""

    folder: Path
    relative: PurePosixPath  # as on disk

    @property
    def path(self) -> Path:
        """The complete path."""
        return self.folder / self.relative


@dataclass(frozen=True)
class ImageFinder:
    """Finds image files in folders, best folder first."""

    folders: Sequence[Path]
    _listings: dict[Path, dict[str, list[str]]] = field(default_factory=dict)  # folder -> key of a name -> names

    def find(self, file_name: str) -> FoundImage | None:
        """Return the image, or None if it is missing or several files match.

        Raises DatasetError for a link that leads out, or a path that is too long.

        A file at exactly this path is preferred, then one that differs in case or URL escapes, then one without leading folders.
        """
        if not file_name.strip() or "\0" in file_name:
            return None
        check_path_length(file_name)
        for parts in _candidates(file_name):
            key = name_key(unquote(parts[0]))
            folders = [folder for folder in self.folders if key in self._listing(folder)]
            if not folders:
                continue  # the usual case for all leading folders, and much faster than a search on the disk
            relative = PurePosixPath(*parts)
            for folder in folders:
                if file_inside(folder, relative):
                    return FoundImage(folder, relative)
            for folder in folders:
                on_disk = self._ignoring_case(folder, relative)
                if on_disk is not None and file_inside(folder, on_disk):
                    return FoundImage(folder, on_disk)
        return None

    def _ignoring_case(self, folder: Path, relative: PurePosixPath) -> PurePosixPath | None:
        found = PurePosixPath()
        for part in relative.parts:
            names = self._listing(folder / found).get(name_key(unquote(part)), [])
            if len(names) != 1:
                return None
            found /= names[0]
        return found

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listings:
            names: dict[str, list[str]] = {}
            for path in folder.iterdir() if folder.is_dir() else ():
                names.setdefault(name_key(unquote(path.name)), []).append(path.name)
            self._listings[folder] = names
        return self._listings[folder]


def _candidates(file_name: str) -> Iterator[tuple[str, ...]]:
    """Yield the parts of the paths that the name may mean: as written, then unescaped; each complete, then without leading folders."""
    texts = [file_name]
    if "://" in file_name or "?" in file_name:
        url = urlsplit(file_name)
        texts += [*parse_qs(url.query).get("d", ()), url.path]  # Label Studio: /data/local-files/?d=images/a.jpg
    texts += [unquote(text) for text in texts]
    paths: dict[tuple[str, ...], None] = {}
    for text in dict.fromkeys(text for text in texts if "\0" not in text):
        parts = tuple(part for part in PurePosixPath(text.replace("\\", "/")).parts if part.strip("/") not in ("", ".", ".."))
        paths |= dict.fromkeys(parts[start:] for start in tail_starts(len(parts)) if parts)
    yield from paths
