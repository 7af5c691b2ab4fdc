"""Which of our media types a client likes best (RFC 9110, section 12.5.1)."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Kind = TypeVar("Kind", bound=str)


def preferred(accept: str, offered: Sequence[Kind]) -> Kind:
    """The one of `offered` ("image/png") that an Accept header likes best.

    The range that names a type most closely decides its weight. Of equal weights the type named more closely goes
    first, then the order of `offered`. Where none is acceptable the first is sent all the same, as the RFC allows.
    """
    ranges = list(_ranges(accept))
    return max(offered, key=lambda kind: _liking(kind, ranges))


def _liking(kind: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    """(weight 0..1, closeness): 2 the type itself, 1 its family, 0 anything, -1 not named."""
    family = kind.partition("/")[0] + "/*"
    for closeness, name in ((2, kind), (1, family), (0, "*/*")):
        weights = [weight for range_, weight in ranges if range_ == name]
        if weights:
            return max(weights), closeness
    return 0.0, -1


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        try:
            yield name, min(max(float(weight), 0.0), 1.0)
        except ValueError:
            continue  # a weight that is no number: the range says nothing
