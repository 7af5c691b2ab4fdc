"""Scans of the model folder. A scan records which files are unchanged since the previous scan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from weights.repository.layout import StoredVersion, scan_repository

VersionKey = tuple[str, int]  # Name of a model and number of its version.


@dataclass(frozen=True)
class FileSnapshot:
    """The state of a version's file. Two snapshots are equal if the file has not changed between them."""

    version: StoredVersion
    signature: tuple[int, ...] | None  # of the file, all symbolic links followed; None: the file does not exist

    @classmethod
    def of(cls, version: StoredVersion) -> Self:
        """Return the current state of the version's file."""
        try:
            stat = version.path.stat()
        except OSError:
            return cls(version, None)
        return cls(version, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@dataclass(frozen=True)
class FolderScan:
    """The content of the model folder at one moment. A file that is being copied differs from scan to scan."""

    files: Mapping[VersionKey, FileSnapshot] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)  # see `weights.repository.layout.RepositoryScan`
    stable: frozenset[VersionKey] = frozenset()  # unchanged since the previous scan
    missing: frozenset[VersionKey] = frozenset()  # gone since the previous scan, or in an unreadable folder

    @classmethod
    def of(cls, folder: Path, previous: "FolderScan | None") -> "FolderScan":
        """Scan the folder. Without a previous scan all files count as stable. Raises OSError if the folder cannot be listed."""
        found = scan_repository(folder)
        files = {(version.name, version.number): FileSnapshot.of(version) for version in found.versions}
        if previous is None:
            return cls(files, found.problems, frozenset(files))
        stable = {key for key, snapshot in files.items() if previous.files.get(key) == snapshot}
        known = previous.files.keys() | previous.missing
        missing = {key for key in known - files.keys() if key in previous.files or key[0] in found.problems}
        return cls(files, found.problems, frozenset(stable), frozenset(missing))

    def versions(self, name: str) -> list[VersionKey]:
        """Return the versions of a model, those that are missing in this scan included, newest first."""
        return sorted((key for key in self.files.keys() | self.missing if key[0] == name), reverse=True)

    @property
    def names(self) -> set[str]:
        """Names of the models that have a version, missing ones included."""
        return {name for name, _ in self.files.keys() | self.missing}
