"""The layout of a model folder. It is that of TensorFlow Serving.

    NAME/VERSION/model.safetensors    VERSION is a whole number; the highest one is served
    NAME/aside/VERSION/               a version set aside by a rollback or promotion (see `publish`): on disk, but not served
    NAME.safetensors                  a model with one version, 1

Names that begin with a dot are skipped: they are unfinished files, or belong to Kubernetes and git-sync, which replace whole folders.
Other unknown names are skipped too.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from weights.hub.resolve import MODEL_SUFFIX

MODEL_FILE = f"model{MODEL_SUFFIX}"
ASIDE = "aside"
FLAT_VERSION = 1
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""Pattern of model names. A colon is not allowed, because names are part of URLs that end in ":predict"."""

_VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class StoredVersion:
    """One version of one model on disk."""

    name: str
    number: int
    path: Path  # of the model file, which may be missing
    aside: bool = False
    flat: bool = False  # stored as NAME.safetensors


@dataclass(frozen=True)
class RepositoryScan:
    """The content of a model folder."""

    versions: list[StoredVersion] = field(default_factory=list)  # sorted by name, newest first, without versions set aside
    problems: dict[str, str] = field(default_factory=dict)  # name in the folder -> why it is skipped, as a sentence


def scan_repository(folder: Path) -> RepositoryScan:
    """List every version that can be served. Raises OSError if the folder itself cannot be listed."""
    result = RepositoryScan()
    entries = {entry.name: entry for entry in os.scandir(folder) if not entry.name.startswith(".")}
    for name, entry in sorted(entries.items()):
        try:
            same_name = entries.get(name.removesuffix(MODEL_SUFFIX))
            shadowed = same_name is not None and same_name is not entry and same_name.is_dir()
            _scan_entry(entry, result, shadowed=shadowed)
        except FileNotFoundError:  # deleted during the scan
            continue
        except OSError as error:
            result.problems[name] = f"{folder / name} cannot be read: {error.strerror}."
    return result


def _scan_entry(entry: "os.DirEntry[str]", result: RepositoryScan, *, shadowed: bool) -> None:
    """Add one file or folder to the result. shadowed: a folder has the file's name without its suffix."""
    name = entry.name.removesuffix(MODEL_SUFFIX)
    if entry.is_dir():
        if MODEL_NAME.fullmatch(entry.name):
            result.versions.extend(sorted(versions_in(Path(entry.path), entry.name), key=lambda version: -version.number))
        elif _has_versions(Path(entry.path)):
            result.problems[entry.name] = _invalid_name(entry.name)
    elif name == entry.name:
        return
    elif not MODEL_NAME.fullmatch(name):
        result.problems[entry.name] = _invalid_name(name)
    elif shadowed:
        result.problems[entry.name] = f"{entry.path} is ignored, because the folder {name} has the same name. Move one of them away."
    else:
        result.versions.append(StoredVersion(name, FLAT_VERSION, Path(entry.path), flat=True))


def _has_versions(folder: Path) -> bool:
    try:
        return any(versions_in(folder, folder.name))
    except OSError:  # a folder of another user, such as a volume's lost+found
        return False


def versions_in(home: Path, name: str, *, aside: bool = False) -> Iterator[StoredVersion]:
    """Yield the versions in a folder NAME, or in its `aside`, in any order. If 1 and 001 both exist, 1 is used."""
    numbers: dict[int, str] = {}
    for path in sorted(home.iterdir(), key=lambda path: len(path.name), reverse=True):
        if _VERSION.fullmatch(path.name) and path.is_dir():
            numbers[int(path.name)] = path.name
    for number, text in numbers.items():
        yield StoredVersion(name, number, home / text / MODEL_FILE, aside)


def _invalid_name(name: str) -> str:
    return f"{name[:80]!r} is not a model name. A name begins with a letter or digit and has letters, digits, '.', '_' and '-'. Rename it."
