"""What can be wrong with labelled.json, and its corrected copy."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from training.dataset_findings import Finding, label_key
from training.errors import DatasetError
from training.labelled import FILE, Labelled, read_labelled
from training.voc_folder import find_annotation


def labelled_findings(
    folder: Path, looked_at: Collection[str], spelling: Mapping[str, str], known: Sequence[str], *, whole: bool
) -> Iterator[Finding]:
    """Yield the findings of labelled.json; none if the data set has no such file.

    Args:
        folder: The data set.
        looked_at: The names of the samples that were checked.
        spelling: Each label of their boxes as written -> as it is to be.
        known: The only labels allowed; any if empty.
        whole: All image sets were checked, so a label that no box has is unused.
    """
    try:
        labelled = read_labelled(folder)
    except DatasetError as error:
        yield Finding("labelled-file", FILE.name, str(error))
        return
    for name in labelled:
        if name not in looked_at and find_annotation(folder, name) is None:
            yield Finding("labelled-name", name, f"{FILE} names it, and it has no annotation.")
    for label, count in sorted(Counter(label for labels in labelled.values() for label in labels).items()):
        wanted = _respelled(label, spelling)
        images = f"{count} image{'' if count == 1 else 's'}"
        if wanted is not None and wanted != label:
            yield Finding("spelling", FILE.name, f"{label[:40]!r} ({images}) is elsewhere {wanted[:40]!r}.", count)
        elif known and label not in known:
            yield Finding("unknown-label", FILE.name, f"{label[:40]!r} ({images}) is not one of {', '.join(known)}.", count)
        elif wanted is None and whole:
            yield Finding("labelled-label", FILE.name, f"{label[:40]!r} ({images}) is the label of no box.", count)


def repaired_labelled(folder: Path, kept: Collection[str], spelling: Mapping[str, str]) -> Labelled:
    """Return labelled.json without the images that are not kept, every label spelled as it is to be. Raises DatasetError."""
    labelled = read_labelled(folder)
    return {name: frozenset(_respelled(label, spelling) or label for label in labelled[name]) for name in labelled if name in kept}


def _respelled(label: str, spelling: Mapping[str, str]) -> str | None:
    """The spelling that boxes with this label are to have; None if no box has it."""
    by_key = {label_key(wanted): wanted for wanted in spelling.values()}
    return by_key.get(label_key(label))
