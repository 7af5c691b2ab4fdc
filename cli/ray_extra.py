"""What is told where Ray is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from detector.errors import MissingExtra


@contextmanager
def needs_ray() -> Iterator[None]:
    """Around imports of what needs Ray. Raises MissingExtra."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(f"--ray needs {error.name}, which is not installed: pip install 'boxwright[ray]'.") from error
