"""Parts of messages: numbers with nouns, lists of names, and suggestions."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice

MAX_LISTED = 100
MAX_COMPARED = 10_000  # Comparing a name with more names would take more than a tenth of a second.


def join_names(names: Collection[str]) -> str:
    """Join names with commas: the first MAX_LISTED and the number of the others. YOLO9000 has 9,418 labels."""
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(islice(names, MAX_LISTED)) + more


def count_of(number: int, noun: str) -> str:
    """Return "1 image" or "2,000 images"."""
    plural = f"{noun}es" if noun.endswith(("x", "s")) else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name that is closest in spelling, or an empty string."""
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), by_lower_case, n=1) if len(by_lower_case) <= MAX_COMPARED else []
    return f" Did you mean {by_lower_case[close[0]]!r}?" if close else ""
