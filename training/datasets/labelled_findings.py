"""Find and correct problems of labelled.json."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from detector.messages import count_of
from training.data.labelled import LABELLED_FILE, Labelled, read_labelled
from training.data.voc_layout import find_annotation
from training.datasets.findings import Finding, label_key
from training.errors import DatasetError


def labelled_findings(
    folder: Path, checked: Collection[str], spelling: Mapping[str, str], known: Sequence[str], *, complete: bool
) -> Iterator[Finding]:
    """Yield the findings of labelled.json; none if the data set has no such file.

    Args:
        folder: The data set.
        checked: The names of the samples that were checked.
        spelling: Label of a box as written -> correct spelling.
        known: The allowed labels. Empty: all labels are allowed.
        complete: Whether all image sets were checked. Only then a label without a box is a finding.
    """
    try:
        labelled = read_labelled(folder)
    except DatasetError as error:
        yield Finding("labelled-file", LABELLED_FILE.name, str(error))
        return
    for name in labelled:
        if name not in checked and find_annotation(folder, name) is None:
            yield Finding("labelled-name", name, f"{LABELLED_FILE} names this image, which has no annotation.")
    by_key = _spelling_by_key(spelling)
    for label, count in sorted(Counter(label for labels in labelled.values() for label in labels).items()):
        correct = by_key.get(label_key(label))
        images = count_of(count, "image")
        if correct is not None and correct != label:
            yield Finding("spelling", LABELLED_FILE.name, f"{label[:40]!r} ({images}) is spelled {correct[:40]!r} elsewhere.", count)
        elif known and label not in known:
            yield Finding(
                "unknown-label",
                LABELLED_FILE.name,
                f"{label[:40]!r} ({images}) is not among the allowed labels: {', '.join(known)}.",
                count,
            )
        elif correct is None and complete:
            yield Finding("labelled-label", LABELLED_FILE.name, f"no box has the label {label[:40]!r} ({images}).", count)


def repaired_labelled(folder: Path, kept: Collection[str], spelling: Mapping[str, str]) -> Labelled:
    """Return the entries of labelled.json for the images in `kept`, with corrected spelling of labels. Raises DatasetError."""
    by_key = _spelling_by_key(spelling)
    labelled = read_labelled(folder)
    return {name: frozenset(by_key.get(label_key(label), label) for label in labels) for name, labels in labelled.items() if name in kept}


def _spelling_by_key(spelling: Mapping[str, str]) -> dict[str, str]:
    """Return the correct spelling of each label that a box has, by its key."""
    return {label_key(correct): correct for correct in spelling.values()}
