"""What is seen of a folder of models, and what of it two looks agree on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weights.repository.layout import StoredVersion, scan_repository

Key = tuple[str, int]
"""A model's name and the number of its version."""


@dataclass(frozen=True)
class Sight:
    """A version as it was seen; equal as long as nobody touches its file."""

    version: StoredVersion
    signature: tuple[int, ...] | None  # of the file behind all links; None: there is no file

    @classmethod
    def of(cls, version: StoredVersion) -> "Sight":
        """As it is now."""
        try:
            stat = version.path.stat()
        except OSError:
            return cls(version, None)
        return cls(version, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@dataclass(frozen=True)
class Look:
    """All that is there at one moment. A file that is being copied, and a folder that is being replaced, differ from look to look."""

    seen: Mapping[Key, Sight] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)  # see `weights.repository.layout.RepositoryScan`
    steady: frozenset[Key] = frozenset()  # seen likewise the last time
    doubtful: frozenset[Key] = frozenset()  # not seen, but the last time, or in a folder that cannot be read

    @classmethod
    def at(cls, folder: Path, before: "Look | None") -> "Look":
        """Without a look before, everything is taken as it is. Raises OSError where the folder cannot be listed."""
        found = scan_repository(folder)
        seen = {(version.name, version.number): Sight.of(version) for version in found.versions}
        if before is None:
            return cls(seen, found.problems, frozenset(seen))
        steady = {key for key, sight in seen.items() if before.seen.get(key) == sight}
        known = before.seen.keys() | before.doubtful
        doubtful = {key for key in known - seen.keys() if key in before.seen or key[0] in found.problems}
        return cls(seen, found.problems, frozenset(steady), frozenset(doubtful))

    def of(self, name: str) -> list[Key]:
        """The versions of a model that may be there, the newest first."""
        return sorted((key for key in self.seen.keys() | self.doubtful if key[0] == name), reverse=True)

    @property
    def names(self) -> set[str]:
        """Models of which something may be there."""
        return {name for name, _ in self.seen.keys() | self.doubtful}
