"""Recognise image sets by the names of folders and list files: train, val, valid, validation, test, testing, train2017, ..."""

import re
from collections.abc import Iterable

_SETS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}


def set_of_name(name: str) -> str | None:
    """Return "train", "val" or "test" if the name contains words for exactly one of these sets, else None. Case is ignored.

    Train, train2017 and obj_train_data are "train"; images-val is "val"; trainval and train_val do not name a single set.
    """
    found = {_SETS[word] for word in re.findall("[a-z]+", name.lower()) if word in _SETS}
    return found.pop() if len(found) == 1 else None


def set_of_path(parts: Iterable[str]) -> str | None:
    """Return the set that the outermost folder with a set's name belongs to."""
    return next((found for part in parts if (found := set_of_name(part))), None)
