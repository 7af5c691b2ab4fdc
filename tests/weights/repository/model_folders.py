"""The versions in a model folder, and damage to a model file."""

from weights.repository.layout import scan_repository


def servable(folder, name="mine"):
    """Return the versions that can be served, newest first."""
    return [version.number for version in scan_repository(folder).versions if version.name == name]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])
