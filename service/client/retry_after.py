"""The header Retry-After, as a client reads it (RFC 9110, section 10.2.3)."""

import math
import time
from email.utils import parsedate_to_datetime


def seconds_of(header: str | None) -> float | None:
    """How long to wait: seconds, or until a date. None where there is no such header, or it makes no sense."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else math.inf
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):  # no date, or one before years are counted
        return None
    return max(0.0, until - time.time())
