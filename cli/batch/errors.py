"""What an archive run refuses."""

from detector.errors import BoxwrightError


class Interrupted(BoxwrightError):
    """The run ended before its photos did; the same command goes on."""
