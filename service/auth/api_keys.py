"""API keys: made here, known to the service by their hashes only.

A key has 256 random bits, so nobody finds it from its SHA-256 by trying: the slow hashes that passwords need would only make
every request slow (docs/decisions/0008-keys-are-hashed-once.md).
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

HEADER = "X-API-Key"
PREFIX = "bw_"
"""By which people, and scanners of repositories, know a key when they see one."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


def new_key() -> str:
    """A key that nobody has: 46 letters, digits, - and _."""
    return PREFIX + secrets.token_urlsafe(32)


@dataclass(frozen=True)
class HashedKey:
    """Whose key it is, and its SHA-256."""

    name: str
    digest: bytes

    @classmethod
    def of(cls, name: str, key: str) -> Self:
        """Raises ValueError for a name that is none."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"a key's name is 1 to 64 letters, digits and . _ -, got {name[:80]!r}")
        return cls(name, sha256(key.encode()).digest())

    @classmethod
    def read(cls, entry: str) -> Self:
        """From "NAME:SHA256". Raises ValueError, which does not repeat the entry: it may be a key by mistake."""
        name, _, digest = entry.strip().partition(":")
        if not (_NAME.fullmatch(name) and _DIGEST.fullmatch(digest)):
            raise ValueError("wants NAME:SHA256 for each key, as 'boxwright keys new' prints it; the key itself does not belong here")
        return cls(name, bytes.fromhex(digest))

    def __str__(self) -> str:
        return f"{self.name}:{self.digest.hex()}"


def holder(keys: Iterable[HashedKey], given: bytes | bytearray) -> str | None:
    """The name of the key that was given; None if it is none of `keys`. Takes the same time whichever it is."""
    digest, name = sha256(given).digest(), None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            name = key.name
    return name
