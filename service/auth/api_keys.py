"""Creation and hashing of API keys. The service stores only their hashes.

A key has 256 random bits, so its SHA-256 cannot be reversed by brute force. A slow password hash would only slow down each request
(docs/decisions/0008-api-key-hashing.md).
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

KEY_HEADER = "X-API-Key"
KEY_PREFIX = "bw_"  # Lets people and secret scanners recognise a key.

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


def new_key() -> str:
    """Return a new random key of 46 characters: letters, digits, - and _."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


@dataclass(frozen=True)
class HashedKey:
    """Name and SHA-256 of a key."""

    name: str
    digest: bytes

    @classmethod
    def of(cls, name: str, key: str) -> Self:
        """Hash a key. Raises ValueError for an invalid name."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"the name of a key must be 1 to 64 letters, digits and . _ -, got {name[:80]!r}")
        return cls(name, sha256(key.encode()).digest())

    @classmethod
    def read(cls, entry: str) -> Self:
        """Parse "NAME:SHA256". Raises ValueError, which does not repeat the entry: it may be a key by mistake."""
        name, _, digest = entry.strip().partition(":")
        if not (_NAME.fullmatch(name) and _DIGEST.fullmatch(digest)):
            raise ValueError("must be NAME:SHA256 for each key, as 'boxwright keys new' prints it, and not the key itself")
        return cls(name, bytes.fromhex(digest))

    def __str__(self) -> str:
        return f"{self.name}:{self.digest.hex()}"


def key_name(keys: Iterable[HashedKey], key: bytes) -> str | None:
    """Return the name of `key`, or None if it is not one of `keys`. The time does not depend on which key matches."""
    digest, name = sha256(key).digest(), None
    for known in keys:
        if hmac.compare_digest(known.digest, digest):
            name = known.name
    return name
