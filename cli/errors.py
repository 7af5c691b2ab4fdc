"""Errors of the command line.

BoxwrightError
├── AddressInUse        `boxwright serve` cannot listen on the address
└── BatchInterrupted    `boxwright detect --ray` ended before its last image
"""

from detector.errors import BoxwrightError


class AddressInUse(BoxwrightError):
    """The service cannot listen on the requested host and port."""


class BatchInterrupted(BoxwrightError):
    """A batch run ended before its last image. Running the same command again continues it."""
