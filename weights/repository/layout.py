"""A folder of models by name and version, in TensorFlow Serving's layout: what lies there.

    NAME/VERSION/model.safetensors    VERSION is a whole number; the highest is the one to serve
    NAME/aside/VERSION/               set aside (`store_changes.rollback`): on disk, and no version to whoever serves
    NAME.safetensors                  a model of one version, 1

Names that begin with a dot are files under way, or how Kubernetes and git-sync swap a whole folder; they and whatever else lies there
are left alone.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from weights.hub.resolve import SUFFIX

FILE = f"model{SUFFIX}"
ASIDE = "aside"
FLAT_VERSION = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""Of a model: it stands in addresses, some of which end in ":predict"."""

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class StoredVersion:
    """One version of one model on disk."""

    name: str
    number: int
    path: Path  # of the file, which need not be there
    aside: bool = False
    flat: bool = False  # a NAME.safetensors


@dataclass(frozen=True)
class Found:
    """What lies in a folder of models."""

    versions: list[StoredVersion] = field(default_factory=list)  # by name, the newest first; none that is set aside
    troubles: dict[str, str] = field(default_factory=dict)  # what cannot be taken, by its name in the folder: a sentence


def scan(folder: Path) -> Found:
    """Every version there is to serve. Raises OSError where the folder itself cannot be listed."""
    found = Found()
    entries = {entry.name: entry for entry in os.scandir(folder) if not entry.name.startswith(".")}
    for name, entry in sorted(entries.items()):
        try:
            beside = entries.get(name.removesuffix(SUFFIX))
            _look_at(entry, beside is not None and beside is not entry and beside.is_dir(), found)
        except FileNotFoundError:  # removed while we look
            continue
        except OSError as error:
            found.troubles[name] = f"{folder / name} cannot be read: {error.strerror}."
    return found


def _look_at(entry: "os.DirEntry[str]", hidden: bool, found: Found) -> None:
    """hidden: a folder has the name that the file would have."""
    name = entry.name.removesuffix(SUFFIX)
    if entry.is_dir():
        if NAME.fullmatch(entry.name):
            found.versions.extend(sorted(versions_in(Path(entry.path), entry.name), key=lambda version: -version.number))
        elif _has_versions(Path(entry.path)):
            found.troubles[entry.name] = _bad_name(entry.name)
    elif name == entry.name:
        return
    elif not NAME.fullmatch(name):
        found.troubles[entry.name] = _bad_name(name)
    elif hidden:
        found.troubles[entry.name] = f"{entry.path}: the folder {name} beside it goes before it. Move the file or the folder away."
    else:
        found.versions.append(StoredVersion(name, FLAT_VERSION, Path(entry.path), flat=True))


def _has_versions(folder: Path) -> bool:
    try:
        return any(versions_in(folder, folder.name))
    except OSError:  # somebody else's, such as a volume's lost+found
        return False


def versions_in(home: Path, name: str, *, aside: bool = False) -> Iterator[StoredVersion]:
    """The versions in a folder NAME, or in its `aside`, in any order; of 1 and 001 the shorter one."""
    numbers: dict[int, str] = {}
    for path in sorted(home.iterdir(), key=lambda path: len(path.name), reverse=True):
        if _NUMBER.fullmatch(path.name) and path.is_dir():
            numbers[int(path.name)] = path.name
    for number, text in numbers.items():
        yield StoredVersion(name, number, home / text / FILE, aside)


def _bad_name(name: str) -> str:
    return f"{name[:80]!r} is no name for a model: it begins with a letter or digit, and has letters, digits, '.', '_' and '-'. Rename it."
