"""Errors of the command line."""

from detector.errors import BoxwrightError


class AddressInUse(BoxwrightError):
    """The service cannot listen on the requested host and port."""


class BatchInterrupted(BoxwrightError):
    """A batch run ended before its last image. Running the same command again continues it."""
