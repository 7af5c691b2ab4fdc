"""Whether Ray is there, before anything is begun."""

from importlib.util import find_spec

from detector.errors import MissingExtra


def check_ray() -> None:
    """Raises MissingExtra where the extra `ray` is not installed."""
    for name in ("ray", "pyarrow"):
        if find_spec(name) is None:
            raise MissingExtra(f"--ray needs {name}, which is not installed: pip install 'boxwright[ray]'.")
