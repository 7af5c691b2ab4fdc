"""Where files are looked for, by the environment: mirrors, or nowhere at all.

    BOXWRIGHT_MIRROR   base addresses that are tried first, separated by blanks; the file's name is appended
    BOXWRIGHT_OFFLINE  1: never connect; say what to do instead

Proxies are found by the usual variables (HTTPS_PROXY, NO_PROXY).
"""

import os
import re
from urllib.parse import urlsplit

from detector.errors import SettingError


def offline() -> bool:
    """Whether BOXWRIGHT_OFFLINE forbids connections."""
    return os.environ.get("BOXWRIGHT_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def mirrors() -> tuple[str, ...]:
    """The base addresses in BOXWRIGHT_MIRROR. Raises SettingError, which tells no password, where one is no http address."""
    bases = tuple(os.environ.get("BOXWRIGHT_MIRROR", "").split())
    for base in bases:
        if not _is_base(base):
            raise SettingError(
                f"BOXWRIGHT_MIRROR holds {without_password(base)!r}; a mirror's address is http://host/folder or https://host/folder, "
                "with %2F for / and %40 for @ in a password. For a file use --from."
            )
    return bases


def without_password(text: str) -> str:
    """For messages and notes: whatever stands before the @ of an address is left out."""
    return re.sub(r"(\w+://)?\S*@", r"\1", text)


def _is_base(address: str) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port  # is computed here, and refused here
    except ValueError:
        return False
    # an @ behind the host is that of a password with a / in it
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in address.replace(parts.netloc, "", 1)
