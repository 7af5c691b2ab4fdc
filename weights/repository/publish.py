"""Changes to a model folder (see `layout`).

A single rename changes the highest version, so readers find either the old one or the new one. A lock serialises changes by several
processes.
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
from detector.network.spec import Model
from weights.atomic_files import atomic_write, sync_folder
from weights.engines.factory import build_engine
from weights.errors import RepositoryError
from weights.formats.bounded_io import open_regular_file
from weights.formats.safetensors import load_model, read_header, save_model
from weights.hub.resolve import MODEL_SUFFIX
from weights.repository.layout import ASIDE, FLAT_VERSION, MODEL_FILE, MODEL_NAME, StoredVersion, versions_in

LOCK = ".lock"


def list_versions(folder: Path, name: str) -> list[StoredVersion]:
    """Return all versions of a model, newest first, versions set aside last. Raises RepositoryError if there are none."""
    flat = folder / f"{name}{MODEL_SUFFIX}"
    home = folder / name
    versions: list[StoredVersion] = []
    if MODEL_NAME.fullmatch(name) and home.is_dir():
        versions = sorted(versions_in(home, name), key=_newest_first)
        if (home / ASIDE).is_dir():
            versions += sorted(versions_in(home / ASIDE, name, aside=True), key=_newest_first)
    elif MODEL_NAME.fullmatch(name) and flat.is_file():
        versions = [StoredVersion(name, FLAT_VERSION, flat, flat=True)]
    if not versions:
        raise RepositoryError(f"{folder} has no model {name[:80]!r}. 'boxwright models list' shows its models.")
    return versions


def add_version(folder: Path, name: str, source: Path | Model, *, keep: int | None = None) -> StoredVersion:
    """Store a copy of a model as the newest version of `name`, after loading and running the copy.

    Args:
        folder: The model folder.
        name: The model's name in the folder.
        source: A model file, or a model in memory.
        keep: Maximum number of versions, counted separately for those set aside. Older versions are deleted.

    Returns:
        The new version.

    Raises:
        RepositoryError: The name is invalid, or belongs to a model without versions.
        ModelError: The file is damaged or not a detector.
        OSError: The folder cannot be written.
    """
    home = folder / name
    if not MODEL_NAME.fullmatch(name):
        raise RepositoryError(
            f"a model's name begins with a letter or digit and contains letters, digits, '.', '_' and '-'; got {name[:80]!r}."
        )
    with _locked(folder):
        if (folder / f"{name}{MODEL_SUFFIX}").exists():
            raise RepositoryError(
                f"{folder / name}{MODEL_SUFFIX} is a model with that name and without versions. Choose another name, or remove that file."
            )
        with _created(home):
            number = 1 + max((version.number for version in _all_versions(home, name)), default=0)
            _write_version(source, home, home / str(number))
        sync_folder(home)
        sync_folder(folder)
        if keep is not None:
            _prune(home, name, keep)
    return StoredVersion(name, number, home / str(number) / MODEL_FILE)


def promote_version(folder: Path, name: str, number: int) -> StoredVersion:
    """Serve version `number`. Newer versions are set aside, and the version itself is restored if it was set aside.

    Raises RepositoryError if there is no such version.
    """
    with _locked(folder):
        versions = list_versions(folder, name)
        chosen = next((version for version in versions if version.number == number), None)
        if chosen is None:
            raise _no_version(name, number, versions)
        return _make_newest(folder / name, versions, chosen)


def rollback_version(folder: Path, name: str) -> StoredVersion:
    """Set the newest version aside and serve the one before it. Raises RepositoryError if it is the only one."""
    with _locked(folder):
        live = [version for version in list_versions(folder, name) if not version.aside]
        if len(live) < 2:
            missing = f"before {live[0].number}" if live else "except those set aside"
            raise RepositoryError(f"{name} has no version {missing}, so it cannot be rolled back.")
        return _make_newest(folder / name, live, live[1])


def remove_version(folder: Path, name: str, number: int | None = None) -> list[StoredVersion]:
    """Delete one version, or the whole model if `number` is None, and return the deleted versions. Raises RepositoryError."""
    with _locked(folder):
        versions = list_versions(folder, name)
        chosen = [version for version in versions if number in (None, version.number)]
        if not chosen:
            raise _no_version(name, number, versions)
        if versions[0].flat:
            versions[0].path.unlink()
        elif len(chosen) == len(versions):
            _delete(folder / name)
        else:
            for version in chosen:
                _delete(version.path.parent)
    return chosen


def _no_version(name: str, number: int | None, versions: list[StoredVersion]) -> RepositoryError:
    return RepositoryError(f"{name} has no version {number}; it has {', '.join(str(version.number) for version in versions)}.")


def _make_newest(home: Path, versions: list[StoredVersion], chosen: StoredVersion) -> StoredVersion:
    """Set newer versions aside in ascending order, so that the served version changes only with the last rename."""
    if chosen.flat:
        return chosen
    if chosen.aside:
        chosen.path.parent.rename(home / chosen.path.parent.name)
    newer = [version for version in versions if version.number > chosen.number and not version.aside]
    for version in reversed(newer):
        (home / ASIDE).mkdir(exist_ok=True)
        version.path.parent.rename(home / ASIDE / version.path.parent.name)
    for changed in (home, home / ASIDE):
        if changed.is_dir():
            sync_folder(changed)
    return StoredVersion(chosen.name, chosen.number, home / chosen.path.parent.name / chosen.path.name)


def _write_version(source: Path | Model, home: Path, version_folder: Path) -> None:
    """Copy and check the model in a hidden folder, then give that folder its final name."""
    _delete_leftovers(home)
    part = home / f".{secrets.token_hex(8)}.part"
    part.mkdir()
    try:
        _copy(source, part / MODEL_FILE)
        part.rename(version_folder)
    except OSError as error:  # the message names the final folder instead of the temporary one
        shutil.rmtree(part)
        raise OSError(error.errno, error.strerror, str(version_folder)) from error
    except BaseException:
        shutil.rmtree(part)
        raise


def _copy(source: Path | Model, path: Path) -> None:
    """Copy the model, then load and run the copy. Raises ModelError if it is damaged or not a detector."""
    if isinstance(source, Model):
        save_model(source, path)
    else:
        read_header(source)  # a file of any size that is not a model is refused before it is copied
        with open_regular_file(source) as (file, _), atomic_write(path) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    model = load_model(path, display_path=None if isinstance(source, Model) else source)
    size = model.spec.input_size
    try:
        Detector(model.spec, build_engine(model)).detect(np.zeros((size, size, 3), np.uint8))
    except ModelError as error:
        raise type(error)(f"{model.name if isinstance(source, Model) else source}: {error}") from error


def _prune(home: Path, name: str, keep: int) -> None:
    for aside in (False, True):
        versions = [version for version in _all_versions(home, name) if version.aside == aside]
        for version in sorted(versions, key=_newest_first)[keep:]:
            _delete(version.path.parent)


def _all_versions(home: Path, name: str) -> list[StoredVersion]:
    aside = home / ASIDE
    return [*versions_in(home, name), *(versions_in(aside, name, aside=True) if aside.is_dir() else ())]


def _newest_first(version: StoredVersion) -> int:
    return -version.number


def _delete(folder: Path) -> None:
    """Rename the folder before deleting its files, so that it disappears at once."""
    hidden = folder.with_name(f".{secrets.token_hex(8)}.gone")
    folder.rename(hidden)
    shutil.rmtree(hidden)


def _delete_leftovers(folder: Path) -> None:
    """Delete what a killed process left. The lock guarantees that no other process uses it."""
    for path in folder.glob(".*"):
        if path.suffix in (".part", ".gone") and path.is_dir():
            shutil.rmtree(path)


@contextmanager
def _created(home: Path) -> Iterator[None]:
    """Create the model's folder if it does not exist. If the block fails, delete the new folder."""
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
    """Hold the folder's lock. Raises RepositoryError if there is no such folder, OSError if it cannot be written."""
    if not folder.is_dir():
        raise RepositoryError(f"{folder}: there is no such folder. Create it, or choose another one with --models.")
    with FileLock(folder / LOCK):
        _delete_leftovers(folder)
        yield
