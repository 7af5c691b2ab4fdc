"""What can be wrong with a data set, and how bad it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
Kind = Literal[
    "annotation",
    "photo",
    "labelled-file",
    "labelled-name",
    "turned",
    "size",
    "reversed",
    "empty",
    "elsewhere",
    "spelling",
    "unknown-label",
    "shared-name",
    "shared-photo",
    "outside",
    "from-zero",
    "no-size",
    "orientation",
    "no-box",
    "labelled-label",
    "same-box",
    "same-photo",
    "listed-twice",
    "unlisted",
    "unannotated",
]

KINDS: dict[Kind, tuple[Severity, str]] = {
    "annotation": ("error", "annotation missing or unreadable"),
    "photo": ("error", "photo missing or unreadable"),
    "labelled-file": ("error", "labelled.json unreadable"),
    "labelled-name": ("error", "labelled.json names an image that does not exist"),
    "turned": ("error", "boxes drawn before the photo was turned upright"),
    "size": ("error", "size in the XML is not the photo's"),
    "reversed": ("error", "box reversed"),
    "empty": ("error", "box empty, or a pixel wide or high at most"),
    "elsewhere": ("error", "box outside the photo"),
    "spelling": ("error", "label spelled in several ways"),
    "unknown-label": ("error", "unknown label"),
    "shared-name": ("error", "name in sets that are to be apart"),
    "shared-photo": ("error", "same photo in sets that are to be apart"),
    "outside": ("warning", "box reaches out of the photo: clipped"),
    "from-zero": ("warning", "box begins at 0, VOC counts from 1: clipped"),
    "no-size": ("warning", "no size in the XML"),
    "orientation": ("warning", "photo stored turned; boxes are taken as upright"),
    "no-box": ("warning", "photo without a box"),
    "labelled-label": ("warning", "labelled.json has a label that no box has"),
    "same-box": ("warning", "box there twice"),
    "same-photo": ("warning", "same photo under several names"),
    "listed-twice": ("warning", "name listed twice"),
    "unlisted": ("warning", "annotation in no list"),
    "unannotated": ("warning", "photo without an annotation"),
}
"""Errors spoil a training or its measurement; warnings may be meant."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: Kind
    where: str  # the name of a sample, a photo or a set
    detail: str  # a sentence with the numbers
    count: int = 1  # of boxes or photos

    @property
    def severity(self) -> Severity:
        """Error or warning."""
        return KINDS[self.kind][0]

    @property
    def title(self) -> str:
        """What all findings of this kind are."""
        return KINDS[self.kind][1]


def label_key(label: str) -> str:
    """The same for spellings that mean the same: Raccoon, raccoon; traffic light, Traffic  Light."""
    return " ".join(label.split()).casefold()


def total(findings: Iterable[Finding], severity: Severity) -> int:
    """How many boxes and photos have one of that severity."""
    return sum(finding.count for finding in findings if finding.severity == severity)
