"""Measurements that a model's provenance records."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.detector import DEFAULT_SCORE
from detector.errors import ModelFileError

CONFIDENCE_KEY = "confidence"
_AP_KEYS = ("ap50_int8", "ap50_after", "ap50_float32", "ap50")
"""The first key in the provenance is used. Older versions of `boxwright quantize` wrote the second, and `finetune` writes the last."""


def recorded_ap(provenance: Mapping[str, str]) -> str | None:
    """Return the average precision that a model's provenance records, with its data set, if any: "0.8043 on 301 images (animals, val)"."""
    return next((provenance[key] for key in _AP_KEYS if key in provenance), None)


def confidence_text(thresholds: Mapping[str, float]) -> str:
    """Return the provenance text for the suggested confidence threshold of each class."""
    return json.dumps({label: round(threshold, 4) for label, threshold in thresholds.items()}, ensure_ascii=False)


def class_confidence(provenance: Mapping[str, str], labels: Sequence[str]) -> NDArray[np.float32]:
    """Return the confidence threshold of each class (C,): the recorded one, or else the default. Raises ModelFileError."""
    recorded = recorded_confidence(provenance, labels)
    return np.array([recorded.get(label, DEFAULT_SCORE) for label in labels], np.float32)


def recorded_confidence(provenance: Mapping[str, str], labels: Sequence[str]) -> dict[str, float]:
    """Return the confidence threshold that fine-tuning suggested for each class; classes that were not measured are absent.

    Args:
        provenance: The model's provenance.
        labels: The model's labels. Thresholds of other labels are dropped.

    Raises:
        ModelFileError: The record is not an object of numbers from 0 to 1.
    """
    text = provenance.get(CONFIDENCE_KEY, "{}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"provenance.{CONFIDENCE_KEY} is not valid JSON: {error}.") from error
    if not isinstance(content, dict) or not all(type(value) in (int, float) and 0 <= value <= 1 for value in content.values()):
        raise ModelFileError(f"provenance.{CONFIDENCE_KEY} must map labels to numbers from 0 to 1, got {text[:80]!r}.")
    known = set(labels)
    return {label: float(value) for label, value in content.items() if label in known}
