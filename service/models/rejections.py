"""Versions of the model folder that cannot be served: why, and when to try again."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from service.models.folder_scan import FileSnapshot, FolderScan, VersionKey
from service.models.loader import InsufficientMemory
from service.models.registry import RejectedVersion

logger = logging.getLogger("boxwright.models")


@dataclass(frozen=True)
class _Rejection:
    reported: RejectedVersion
    snapshot: FileSnapshot
    needed: int | None  # free bytes that the model needs, if memory is the only reason
    temporary: bool  # caused by the system, not by the file


class Rejections:
    """The rejected versions of one model folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.count = 0  # so far; a repeated rejection for the same reason counts once
        self._versions: dict[VersionKey, _Rejection] = {}
        self._entries: dict[str, RejectedVersion] = {}  # files and folders that cannot be models

    @property
    def current(self) -> tuple[RejectedVersion, ...]:
        """The present rejections."""
        return (*(rejection.reported for rejection in self._versions.values()), *self._entries.values())

    def update(self, scan: FolderScan) -> None:
        """Drop the rejections of changed and removed files, and add the files and folders that the scan rejected."""
        self._versions = {key: rejection for key, rejection in self._versions.items() if scan.files.get(key) == rejection.snapshot}
        self._entries = {name: self._reject_entry(name, reason) for name, reason in scan.problems.items()}

    def blocks(self, key: VersionKey, free_bytes: int) -> bool:
        """Return True if another attempt to load the version would fail for the same reason."""
        rejection = self._versions.get(key)
        return rejection is not None and not rejection.temporary and (rejection.needed is None or rejection.needed > free_bytes)

    def add(self, key: VersionKey, snapshot: FileSnapshot, error: Exception) -> None:
        """Record that loading the version failed."""
        known = self._versions.get(key)
        needed = error.needed if isinstance(error, InsufficientMemory) else None
        reported = RejectedVersion(key[0], str(key[1]), self._relative(str(error)), datetime.now(UTC), needed is not None)
        if known is not None and known.reported.why == reported.why:
            reported = replace(reported, since=known.reported.since)
        else:
            self._log(reported)
        temporary = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
        self._versions[key] = _Rejection(reported, snapshot, needed, temporary)

    def remove(self, key: VersionKey) -> None:
        """Record that the version has been loaded."""
        self._versions.pop(key, None)

    def _reject_entry(self, name: str, reason: str) -> RejectedVersion:
        known, why = self._entries.get(name), self._relative(reason)
        if known is not None and known.why == why:
            return known
        reported = RejectedVersion(_encodable(name), None, why, datetime.now(UTC))
        self._log(reported)
        return reported

    def _relative(self, message: str) -> str:
        """Make paths relative to the model folder, because clients of GET /models must not learn its location."""
        return _encodable(message.replace(f"{self._folder}/", ""))

    def _log(self, reported: RejectedVersion) -> None:
        self.count += 1
        facts: Mapping[str, str | None] = {"model": reported.name, "version": reported.version}
        logger.warning("model %s is refused: %s", reported.name, reported.why, extra={"facts": facts})


def _encodable(text: str) -> str:
    """Escape the bytes of a file name that are not UTF-8, because JSON cannot contain them."""
    return text.encode("utf-8", "backslashreplace").decode()
