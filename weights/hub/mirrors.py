"""Environment variables that control downloads.

    BOXWRIGHT_MIRROR   base addresses that are tried first, separated by spaces; the file name is appended
    BOXWRIGHT_OFFLINE  1 forbids all connections

The usual variables configure proxies (HTTPS_PROXY, NO_PROXY).
"""

import os
import re
from urllib.parse import urlsplit

from detector.errors import SettingError


def is_offline() -> bool:
    """True if BOXWRIGHT_OFFLINE forbids connections."""
    return os.environ.get("BOXWRIGHT_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def mirror_addresses() -> tuple[str, ...]:
    """Return the base addresses in BOXWRIGHT_MIRROR. Raises SettingError, without passwords, if one is not an http(s) address."""
    bases = tuple(os.environ.get("BOXWRIGHT_MIRROR", "").split())
    for base in bases:
        if not _is_valid_base(base):
            raise SettingError(
                f"BOXWRIGHT_MIRROR contains {redact_password(base)!r}; a mirror's address is http://host/folder or https://host/folder, "
                "with %2F for / and %40 for @ in a password. For a local file, use --from."
            )
    return bases


def redact_password(text: str) -> str:
    """Remove the user name and password from every address in the text."""
    return re.sub(r"\S+", _redact_word, text)


def _redact_word(word: re.Match[str]) -> str:
    """Remove everything before the last @ of a word, except the scheme of an address at its start."""
    before, at, after = word[0].rpartition("@")
    scheme = re.match(r"\w+://", before) if at else None
    return f"{scheme[0] if scheme else ''}{after}"


def _is_valid_base(address: str) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port  # this property raises for an invalid port
    except ValueError:
        return False
    # an @ after the host means that the password contains an unescaped /
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in address.replace(parts.netloc, "", 1)
