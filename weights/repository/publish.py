"""Changes to a folder of models (see `layout`). Whoever reads it, at any moment, sees the state before or the state after.

What is served changes with one rename each time. Only one process at a time changes a folder; others wait for it.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from detector.detector import Detector
from detector.errors import ModelError
from detector.spec import Model
from weights.atomic_files import atomic_write, sync_folder
from weights.engines.factory import load_engine
from weights.errors import StoreError
from weights.formats.bounded_io import opened
from weights.formats.safetensors import load_model, save_model
from weights.hub.resolve import SUFFIX
from weights.repository.layout import ASIDE, FILE, FLAT_VERSION, NAME, StoredVersion, versions_in

LOCK = ".lock"


def stored(folder: Path, name: str) -> list[StoredVersion]:
    """All versions of a model, the newest first, those set aside last. Raises StoreError where there is none."""
    flat = folder / f"{name}{SUFFIX}"
    home = folder / name
    versions: list[StoredVersion] = []
    if NAME.fullmatch(name) and home.is_dir():
        versions = sorted(versions_in(home, name), key=_newest_first)
        if (home / ASIDE).is_dir():
            versions += sorted(versions_in(home / ASIDE, name, aside=True), key=_newest_first)
    elif NAME.fullmatch(name) and flat.is_file():
        versions = [StoredVersion(name, FLAT_VERSION, flat, flat=True)]
    if not versions:
        raise StoreError(f"{folder} has no model {name[:80]!r}. `boxwright models list` shows those it has.")
    return versions


def add(folder: Path, name: str, source: Path | Model, *, keep: int | None = None) -> StoredVersion:
    """A file, or a model, becomes the newest version of `name`, once a copy of it lies there and has been read and run.

    keep: of versions in service and of those set aside, so many stay; older ones are deleted.
    Raises StoreError for a name that cannot be one, ModelError where the file is no sound detector, OSError where the disk refuses.
    """
    home = folder / name
    if not NAME.fullmatch(name):
        raise StoreError(f"a model's name begins with a letter or digit, and has letters, digits, '.', '_' and '-', got {name[:80]!r}.")
    with _locked(folder):
        if (folder / f"{name}{SUFFIX}").exists():
            raise StoreError(f"{folder / name}{SUFFIX} is a model of that name without versions. Give another name, or remove it first.")
        with _created(home):
            number = 1 + max((version.number for version in _all(home, name)), default=0)
            part = _fresh(home)
            try:
                _copy(source, part / FILE)
                part.rename(home / str(number))
            except BaseException:
                shutil.rmtree(part)
                raise
        sync_folder(home)
        sync_folder(folder)
        if keep is not None:
            _prune(home, name, keep)
    return StoredVersion(name, number, home / str(number) / FILE)


def promote(folder: Path, name: str, number: int) -> StoredVersion:
    """Version `number` is the one to serve: those above it are set aside; if it was set aside itself, it comes back.

    Raises StoreError where there is no such version.
    """
    with _locked(folder):
        versions = stored(folder, name)
        chosen = next((version for version in versions if version.number == number), None)
        if chosen is None:
            there = ", ".join(str(version.number) for version in versions)
            raise StoreError(f"{name} has no version {number}; it has {there}.")
        return _make_newest(folder / name, versions, chosen)


def rollback(folder: Path, name: str) -> StoredVersion:
    """The version before the newest is the one to serve; the newest is set aside. Raises StoreError where there is none before."""
    with _locked(folder):
        live = [version for version in stored(folder, name) if not version.aside]
        if len(live) < 2:
            newest = live[0].number if live else "those set aside"
            raise StoreError(f"{name} has no version before {newest}; there is nothing to go back to.")
        return _make_newest(folder / name, live, live[1])


def remove(folder: Path, name: str, number: int | None = None) -> list[StoredVersion]:
    """Delete a version, or all of the model. What was deleted. Raises StoreError where there is no such model or version."""
    with _locked(folder):
        versions = stored(folder, name)
        chosen = [version for version in versions if number in (None, version.number)]
        if not chosen:
            raise StoreError(f"{name} has no version {number}; it has {', '.join(str(version.number) for version in versions)}.")
        if versions[0].flat:
            versions[0].path.unlink()
        elif len(chosen) == len(versions):
            _delete(folder / name)
        else:
            for version in chosen:
                _delete(version.path.parent)
    return chosen


def _make_newest(home: Path, versions: list[StoredVersion], chosen: StoredVersion) -> StoredVersion:
    """Whatever is renamed last is the newest until then, so that what is served changes once."""
    if chosen.flat:
        return chosen
    if chosen.aside:
        chosen.path.parent.rename(home / chosen.path.parent.name)
    above = [version for version in versions if version.number > chosen.number and not version.aside]
    for version in reversed(above):
        (home / ASIDE).mkdir(exist_ok=True)
        version.path.parent.rename(home / ASIDE / version.path.parent.name)
    for changed in (home, home / ASIDE):
        if changed.is_dir():
            sync_folder(changed)
    return StoredVersion(chosen.name, chosen.number, home / chosen.path.parent.name / chosen.path.name)


def _copy(source: Path | Model, path: Path) -> None:
    """Raises ModelError where what was copied is not sound."""
    if isinstance(source, Model):
        save_model(source, path)
    else:
        with opened(source):  # says what is wrong with it, if anything is
            pass
        with source.open("rb") as file, atomic_write(path) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    model = load_model(path, called=None if isinstance(source, Model) else source)
    size = model.spec.input_size
    try:
        Detector(model.spec, load_engine(model)).detect(np.zeros((size, size, 3), np.uint8))
    except ModelError as error:
        raise type(error)(f"{model.name if isinstance(source, Model) else source}: {error}") from error


def _prune(home: Path, name: str, keep: int) -> None:
    for aside in (False, True):
        versions = [version for version in _all(home, name) if version.aside == aside]
        for version in sorted(versions, key=_newest_first)[keep:]:
            _delete(version.path.parent)


def _all(home: Path, name: str) -> list[StoredVersion]:
    aside = home / ASIDE
    return [*versions_in(home, name), *(versions_in(aside, name, aside=True) if aside.is_dir() else ())]


def _newest_first(version: StoredVersion) -> int:
    return -version.number


def _delete(folder: Path) -> None:
    """It is gone at once, however long its files take."""
    doomed = folder.with_name(f".{secrets.token_hex(8)}.gone")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _fresh(home: Path) -> Path:
    """A hidden folder."""
    _clean(home)
    part = home / f".{secrets.token_hex(8)}.part"
    part.mkdir()
    return part


def _clean(folder: Path) -> None:
    """What a killed process left is nobody's, as only one may be here."""
    for left in folder.glob(".*"):
        if left.suffix in (".part", ".gone") and left.is_dir():
            shutil.rmtree(left)


@contextmanager
def _created(home: Path) -> Iterator[None]:
    new = not home.exists()
    home.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        if new:
            home.rmdir()
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises StoreError where there is no such folder, OSError where it cannot be written."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder. Make it, or give another one with --models.")
    with FileLock(folder / LOCK):
        _clean(folder)
        yield
