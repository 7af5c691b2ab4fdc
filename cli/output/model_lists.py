"""The tables of `boxwright weights list` and `boxwright models list`."""

import json
from pathlib import Path
from typing import NamedTuple

import typer

from cli.output.tables import megabytes, print_table
from cli.output.terminal import print_error
from detector.errors import ModelError
from weights.embedded import EMBEDDED
from weights.errors import RepositoryError
from weights.formats.provenance import recorded_ap
from weights.formats.safetensors import read_header
from weights.hub.catalogue import Entry, approximate_size, entries
from weights.hub.pulled import list_pulled
from weights.repository.layout import StoredVersion, scan_repository
from weights.repository.publish import list_versions

NUMERIC = ("size", "classes", "AP50", "version")


class KnownModel(NamedTuple):
    """A row of `boxwright weights list`: a model of the package or the catalogue."""

    name: str
    status: str | None  # "included" in the package, "pulled", or None
    size: str  # "~" in front of an estimate
    classes: int | None  # None for a backbone without a head
    ap50: str | None
    licence: str


class ListedVersion(NamedTuple):
    """A row of `boxwright models list`: one version of a model; the fields are the keys of the JSON."""

    name: str
    version: int
    state: str  # "newest", "kept", "aside" or "damaged"
    megabytes: float
    labels: int
    ap: str | None
    file: str


def print_known_models() -> None:
    """Print every model of the package and the catalogue."""
    rows = [_embedded_model(name, path) for name, path in EMBEDDED.items()]
    available = list_pulled()
    rows += [_catalogue_model(entry, available=name in available) for name, entry in entries().items()]
    print_table(("name", "status", "size", "classes", "AP50", "licence"), rows, numeric=NUMERIC)


def _embedded_model(name: str, path: Path) -> KnownModel:
    header = read_header(path)
    ap50 = _round_ap(recorded_ap(header.provenance))
    licence = header.provenance.get("licence", "Apache-2.0")
    return KnownModel(name, "included", megabytes(path.stat().st_size), len(header.spec.labels), ap50, licence)


def _catalogue_model(entry: Entry, *, available: bool) -> KnownModel:
    size = megabytes(approximate_size(entry), approximate=not entry.sizes)
    licence = entry.licence.partition(" for the file")[0]  # `weights info` prints all of it
    return KnownModel(entry.name, "pulled" if available else None, size, len(entry.labels) or None, None, licence)


def _round_ap(record: str | None) -> str | None:
    """Return "0.804" of "0.8043 on 301 images (animals, val)"."""
    return f"{float(record.split()[0]):.3f}" if record else None


def print_model_versions(folder: Path, *, as_json: bool) -> None:
    """Print the versions in a model folder to stdout, and files that are not valid models to stderr.

    Raises RepositoryError if the folder does not exist.
    """
    versions, problems = _model_versions(folder)
    if as_json:
        rows = [version._asdict() | {"ap": version.ap or "-"} for version in versions]
        typer.echo(json.dumps({"versions": rows, "problems": problems}, indent=2))
        return
    columns = ("name", "version", "state", "size", "classes", "AP50", "file")
    print_table(columns, [_table_row(version) for version in versions], numeric=NUMERIC)
    for sentence in problems:
        print_error(sentence, warning=True)


def _table_row(version: ListedVersion) -> tuple[object, ...]:
    damaged = version.state == "damaged"
    size, classes = (None, None) if damaged else (f"{version.megabytes:.1f} MB", version.labels)
    return version.name, version.version, version.state, size, classes, _round_ap(version.ap), version.file


def _model_versions(folder: Path) -> tuple[list[ListedVersion], list[str]]:
    """Return every version, including those set aside, and a sentence for each file that cannot be served."""
    if not folder.is_dir():
        raise RepositoryError(f"{folder}: there is no such folder. Create it, or give another folder with --models.")
    found = scan_repository(folder)
    problems = list(found.problems.values())
    with_versions_aside = {path.parent.name for path in folder.glob("*/aside") if any(path.iterdir())}
    rows = []
    for name in sorted({version.name for version in found.versions} | with_versions_aside):
        newest = True
        for version in list_versions(folder, name):
            rows.append(_model_version(version, "aside" if version.aside else "newest" if newest else "kept", problems))
            newest = False
    return rows, problems


def _model_version(version: StoredVersion, state: str, problems: list[str]) -> ListedVersion:
    try:
        header = read_header(version.path)
    except ModelError as error:
        problems.append(str(error))
        return ListedVersion(version.name, version.number, "damaged", 0, 0, None, str(version.path))
    size = round(version.path.stat().st_size / 1e6, 1)
    ap = recorded_ap(header.provenance)
    return ListedVersion(version.name, version.number, state, size, len(header.spec.labels), ap, str(version.path))
