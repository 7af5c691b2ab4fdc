"""Choice of a media type by the Accept header (RFC 9110, section 12.5.1)."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

MediaTypeT = TypeVar("MediaTypeT", bound=str)


def preferred_media_type(accept: str, offered: Sequence[MediaTypeT]) -> MediaTypeT:
    """Return the media type of `offered` that the Accept header prefers.

    The most specific range that matches a media type decides its weight. Ties go to the more specific match, then to the order of
    `offered`. If no media type is acceptable, one of them is returned, as the RFC permits.
    """
    ranges = list(_parse_ranges(accept))
    return max(offered, key=lambda media_type: _weight(media_type, ranges))


def _weight(media_type: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    """Return (weight, specificity). The weight is 0..1.

    The specificity is 2 for the media type itself, 1 for its family, 0 for */*, and -1 if the media type is not accepted.
    """
    family = media_type.partition("/")[0] + "/*"
    for specificity, name in ((2, media_type), (1, family), (0, "*/*")):
        weights = [weight for range_, weight in ranges if range_ == name]
        if weights:
            return max(weights), specificity if max(weights) else -1
    return 0.0, -1


def _parse_ranges(accept: str) -> Iterator[tuple[str, float]]:
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        try:
            yield name, min(max(float(weight), 0.0), 1.0)
        except ValueError:
            continue  # an invalid weight: ignore the range
