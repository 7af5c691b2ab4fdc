"""Partially labelled images: ImageSets/labelled.json of a VOC-style data set lists the classes that are exhaustively labelled in each.

The file is a JSON object. It maps an image's name, as an image set lists it, to the labels that are exhaustive in that image:

    {"street/0001": ["car", "person"], "0002": []}

Objects of all other classes may be present in that image without a box. Images that the file does not name are labelled for every
class. A data set without the file is labelled for every class in every image.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from training.data.voc_layout import check_name, file_inside, find_annotation, read_text
from training.errors import DatasetError

LABELLED_FILE = PurePosixPath("ImageSets/labelled.json")
MAX_LABELLED_BYTES = 64 * 2**20

Labelled = Mapping[str, frozenset[str]]  # Exhaustive labels by image name. A name that is absent is labelled for every class.


def read_labelled(folder: Path) -> dict[str, frozenset[str]]:
    """Return the exhaustive labels of each partially labelled image; empty if the data set has no such file.

    Raises:
        DatasetError: The file is too large, is not valid JSON, repeats a name, or has another structure.
    """
    path = file_inside(folder, LABELLED_FILE)
    if path is None:
        return {}
    content = _parse(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a JSON object of image names, got {_kind(content)}.")
    return {name: _labels(path, folder, name, labels) for name, labels in content.items()}


def check_names_exist(folder: Path, names: Iterable[str]) -> None:
    """Raise DatasetError if a name has no annotation in the data set."""
    for name in names:
        if find_annotation(folder, name) is None:
            raise DatasetError(f"{folder / LABELLED_FILE}: {name!r} has no annotation. Correct the name, or remove it from the file.")


def labelled_text(labelled: Labelled) -> bytes:
    """Return the content of labelled.json: one image per line, sorted."""
    lines = [f"{_json(name)}: {_json(sorted(labels))}" for name, labels in sorted(labelled.items())]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _parse(path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
            raise DatasetError(f"{path}: {repeated[:80]!r} appears twice. Keep one of the two entries.")
        return found

    try:
        return json.loads(read_text(path, MAX_LABELLED_BYTES), object_pairs_hook=unique)
    except RecursionError as error:
        raise DatasetError(f"{path}: the JSON is nested too deeply. Expected a list of labels for each image name.") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not valid JSON: {error}.") from error


def _labels(path: Path, folder: Path, name: str, labels: Any) -> frozenset[str]:
    check_name(folder, name)
    if not isinstance(labels, list):
        raise DatasetError(f"{path}: {name[:80]!r}: expected a list of labels, got {_kind(labels)}.")
    if wrong := [label for label in labels if not isinstance(label, str)]:
        raise DatasetError(f"{path}: {name[:80]!r}: expected a list of labels, got {_kind(wrong[0])} in the list.")
    if blank := [label for label in labels if not label.strip() or label != label.strip()]:
        raise DatasetError(f"{path}: {name[:80]!r}: the label {blank[0][:40]!a} is blank or has whitespace around it.")
    return frozenset(labels)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
    return names[type(value)]
