"""Check a complete data set: decode every image, and compare boxes with images and names with lists."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from detector.messages import count_of
from training.data.unread_annotations import describe_unread, unread_annotations
from training.data.voc_layout import all_annotations, find_images, linked_folders
from training.data.voc_lists import image_names, image_sets
from training.datasets.findings import Finding, label_key, total
from training.datasets.inspect_sample import InspectedSample, Inspection, inspect_sample
from training.datasets.labelled_findings import labelled_findings
from training.datasets.similar_labels import similar_labels
from training.errors import DatasetError
from training.events import SILENT, Events

DISJOINT_SETS = ("train", "val", "valid", "validation", "test")
"""Sets that must not share an image, in lower case. `training.datasets.repair` removes a shared image from the earlier one."""


@dataclass(frozen=True, eq=False)
class DatasetCheck:
    """The content of a data set, and the problems found in it."""

    folder: Path
    sets: Mapping[str, Sequence[str]]  # names as listed
    inspections: Mapping[str, Inspection]  # by name, of all sets
    spelling: Mapping[str, str]  # label as written -> correct spelling
    findings: Sequence[Finding]

    @property
    def errors(self) -> int:
        """Number of boxes and images with an error."""
        return total(self.findings, "error")

    @property
    def warnings(self) -> int:
        """Number of boxes and images with a warning."""
        return total(self.findings, "warning")

    def samples(self, image_set: str) -> list[InspectedSample]:
        """Return the readable samples of a set, without repetitions."""
        inspections = (self.inspections[name] for name in dict.fromkeys(self.sets[image_set]))
        return [each.sample for each in inspections if each.sample]

    def boxes_by_label(self, image_set: str) -> Counter[str]:
        """Return the number of usable boxes of each label, in its correct spelling."""
        return Counter(self.spelling[label] for sample in self.samples(image_set) for label in _usable_labels(sample))


def check_dataset(folder: Path, selected_sets: Iterable[str] = (), *, labels: Sequence[str] = (), events: Events = SILENT) -> DatasetCheck:
    """Check image sets of a data set.

    Args:
        folder: The data set.
        selected_sets: Names of sets. Default: all.
        labels: The allowed labels. Empty: all labels are allowed.
        events: Receives an event for each checked image.

    Raises:
        DatasetError: A set does not exist, its list is unreadable, or all lists are empty. Problems of images and annotations become
            findings.
    """
    chosen = tuple(selected_sets)
    listed = {each: image_names(folder, each) for each in chosen or image_sets(folder)}
    names = list(dict.fromkeys(name for each in listed.values() for name in each))
    if not names:
        raise DatasetError(f"{folder}: {', '.join(listed)}: the list is empty.")
    inspections = {}
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        for each in pool.map(lambda name: inspect_sample(folder, name), names):
            inspections[each.name] = each
            events.image_checked(len(names))
    spelling = _spelling((each.sample for each in inspections.values() if each.sample), labels)
    findings = [finding for each in inspections.values() for finding in each.findings]
    findings += _label_findings(inspections.values(), spelling, labels)
    findings += _list_findings(listed)
    findings += _image_findings(listed, inspections)
    findings += labelled_findings(folder, inspections, spelling, labels, complete=not chosen)
    if not chosen:
        findings += _unused_file_findings(folder, inspections)
    return DatasetCheck(folder, listed, inspections, spelling, tuple(findings))


def _usable_labels(sample: InspectedSample) -> Iterator[str]:
    return (label for label, usable in zip(sample.annotation.labels, sample.usable, strict=True) if usable)


def _spelling(samples: Iterable[InspectedSample], known: Sequence[str]) -> dict[str, str]:
    """Map each label to the known label with the same key, or else to its most frequent spelling. Ties go to the first in the alphabet."""
    counts = Counter(label for sample in samples for label in sample.annotation.labels)
    best: dict[str, str] = {}
    for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        best.setdefault(label_key(label), label)
    best |= {label_key(label): label for label in known}
    return {label: label if label in known else best[label_key(label)] for label in counts}


def _label_findings(inspections: Iterable[Inspection], spelling: Mapping[str, str], known: Sequence[str]) -> Iterator[Finding]:
    counts: Counter[str] = Counter()
    for each in inspections:
        for label, count in Counter(each.sample.annotation.labels if each.sample else ()).items():
            correct = spelling[label]
            counts[correct] += count
            if label != correct:
                written = ascii if normalize("NFC", label) == normalize("NFC", correct) else repr
                yield Finding("spelling", each.name, f"{written(label[:40])} is spelled {written(correct[:40])} elsewhere.", count)
            if known and correct not in known:
                yield Finding("unknown-label", each.name, f"{label[:40]!r} is not among the allowed labels: {', '.join(known)}.", count)
    for first, second in similar_labels(label for label in counts if label not in known):
        detail = f"{first[:40]!r} ({count_of(counts[first], 'box')}) and {second[:40]!r} ({count_of(counts[second], 'box')})."
        yield Finding("similar-label", first, detail, min(counts[first], counts[second]))


def _list_findings(listed: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for image_set, members in listed.items():
        for name, count in Counter(members).items():
            if count > 1:
                yield Finding("listed-twice", image_set, f"{name} is listed {count} times.", count - 1)
    for first, second in disjoint_pairs(listed):
        for name in sorted(set(listed[first]) & set(listed[second])):
            yield Finding("shared-name", name, f"is in {first} and in {second}.")


def disjoint_pairs(image_sets: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of sets that must not share an image. A repair removes a shared image from the first set of the pair."""

    def rank(name: str) -> int:
        return DISJOINT_SETS.index(name.casefold())

    return combinations(sorted((each for each in image_sets if each.casefold() in DISJOINT_SETS), key=rank), 2)


def _image_findings(listed: Mapping[str, Sequence[str]], inspections: Mapping[str, Inspection]) -> Iterator[Finding]:
    groups: dict[bytes, list[str]] = defaultdict(list)
    for name, each in inspections.items():
        if each.sample:
            groups[each.sample.digest].append(name)
    members = {image_set: set(each) for image_set, each in listed.items()}
    for group in (group for group in groups.values() if len(group) > 1):
        where = [(name, ", ".join(image_set for image_set in listed if name in members[image_set])) for name in group]
        detail = "; ".join(f"{name} ({sets})" for name, sets in where)
        leaks = any(a != b for one, two in disjoint_pairs(listed) for a in members[one] & set(group) for b in members[two] & set(group))
        yield Finding("shared-photo" if leaks else "same-photo", group[0], f"identical files: {detail}.", len(group) - 1)


def _unused_file_findings(folder: Path, inspections: Mapping[str, Inspection]) -> Iterator[Finding]:
    """Yield a finding for each file that belongs to no set."""
    unlisted = [name for name in all_annotations(folder) if name not in inspections]
    for name in unlisted:
        yield Finding("unlisted", _printable(name), "is in no list.")
    unread = unread_annotations(folder)
    for place in sorted({path.parent for path in unread}):
        paths = [path for path in unread if path.parent == place]
        yield Finding("unread", _printable(place.relative_to(folder).as_posix()), _printable(describe_unread(folder, paths)), len(paths))
    used = {each.sample.image_path for each in inspections.values() if each.sample}
    claimed = {
        PurePosixPath(name).name
        for name in (*unlisted, *(path.stem for path in unread), *(each.name for each in inspections.values() if not each.sample))
    }
    for image in find_images(folder):
        if image not in used and image.stem not in claimed:
            where = _printable(image.relative_to(folder).as_posix())
            yield Finding("unannotated", where, "has no annotation. If it shows no object, add an annotation without <object>.")
    for link in linked_folders(folder):
        where = _printable(link.relative_to(folder).as_posix())
        yield Finding("linked-folder", where, "is a link. Put the files themselves there if they belong to the data set.")


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
