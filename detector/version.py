"""Version of the installed distribution."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the version of the installed distribution, or "0+uninstalled" if there is none."""
    try:
        return version("boxwright")
    except PackageNotFoundError:
        return "0+uninstalled"
