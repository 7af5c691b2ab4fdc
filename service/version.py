"""Which Boxwright this is."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version of the installed distribution; "0+uninstalled" where the code runs from a folder that nobody installed."""
    try:
        return version("boxwright")
    except PackageNotFoundError:
        return "0+uninstalled"
