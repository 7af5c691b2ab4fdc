"""The kinds of problems that a data set can have, and their severity."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from unicodedata import category, normalize

_JOINERS = "\u200c\u200d"  # invisible characters that are a part of words and emoji

Severity = Literal["error", "warning"]
FINDING_KINDS: dict[str, tuple[Severity, str]] = {
    "annotation": ("error", "annotation missing or unreadable"),
    "photo": ("error", "image missing or unreadable"),
    "labelled-file": ("error", "labelled.json unreadable"),
    "labelled-name": ("error", "labelled.json names an image that does not exist"),
    "turned": ("error", "boxes refer to the image before EXIF rotation"),
    "size": ("error", "size in the XML differs from the image"),
    "reversed": ("error", "box reversed"),
    "empty": ("error", "box at most one pixel wide or high"),
    "elsewhere": ("error", "box outside of the image"),
    "spelling": ("error", "label spelled in several ways"),
    "unknown-label": ("error", "unknown label"),
    "shared-name": ("error", "name in two sets that must be disjoint"),
    "shared-photo": ("error", "identical image files in two sets that must be disjoint"),
    "outside": ("warning", "box extends beyond the image: clipped"),
    "from-zero": ("warning", "box starts at 0, but VOC counts from 1: clipped"),
    "rotated": ("warning", "rotated box: the upright rectangle around it is used"),
    "no-size": ("warning", "no size in the XML"),
    "orientation": ("warning", "image stored rotated; boxes are taken as upright"),
    "no-box": ("warning", "image without a usable box"),
    "similar-label": ("warning", "labels that differ by one letter"),
    "labelled-label": ("warning", "labelled.json has a label that no box has"),
    "same-box": ("warning", "box annotated twice"),
    "same-photo": ("warning", "identical image files"),
    "listed-twice": ("warning", "name listed twice"),
    "linked-folder": ("warning", "linked folder, not followed"),
    "unlisted": ("warning", "annotation in no list"),
    "unread": ("warning", "annotation in a folder that is not read"),
    "unannotated": ("warning", "image without an annotation"),
}
"""Kind -> severity and title. Errors harm training or evaluation; warnings may be intentional."""


@dataclass(frozen=True)
class Finding:
    """One problem."""

    kind: str  # a key of FINDING_KINDS
    where: str  # name of an image, set, label, file or folder
    detail: str  # a sentence with the numbers
    count: int = 1  # of the affected boxes, images or files

    @property
    def severity(self) -> Severity:
        """Error or warning."""
        return FINDING_KINDS[self.kind][0]

    @property
    def title(self) -> str:
        """Description of all findings of this kind."""
        return FINDING_KINDS[self.kind][1]


def label_key(label: str) -> str:
    """Return a key that is equal for all spellings of a label, such as traffic light and "Traffic  Light".

    Case, the number of spaces, the composition of characters (NFC) and most invisible characters do not count.
    """
    visible = "".join(character for character in label if category(character) != "Cf" or character in _JOINERS)
    return " ".join(normalize("NFC", visible).split()).casefold()


def total(findings: Iterable[Finding], severity: Severity) -> int:
    """Return the sum of the counts of all findings of that severity."""
    return sum(finding.count for finding in findings if finding.severity == severity)
