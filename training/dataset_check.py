"""A whole data set looked through: every photo decoded, every box compared with its photo, every name with its lists."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath

from training.dataset_findings import Finding, label_key, total
from training.dataset_look import Look, Seen, look
from training.dataset_partial import labelled_findings
from training.errors import DatasetError
from training.voc_folder import every_annotation, find_photos, names, sets

APART = ("train", "val", "valid", "validation", "test")
"""Sets that must share no photo, whatever the case of their letters; one that shares with a later one gives way (`dataset_repair`)."""


@dataclass(frozen=True, eq=False)
class Check:
    """What was found in a data set."""

    folder: Path
    sets: Mapping[str, Sequence[str]]  # names as listed
    looks: Mapping[str, Look]  # by name, of all sets
    spelling: Mapping[str, str]  # each label as written -> as it is to be
    findings: Sequence[Finding]

    @property
    def errors(self) -> int:
        """Boxes and photos with an error."""
        return total(self.findings, "error")

    @property
    def warnings(self) -> int:
        """Boxes and photos with a warning."""
        return total(self.findings, "warning")

    def seen(self, image_set: str) -> list[Seen]:
        """The readable samples of a set, each once."""
        looks = (self.looks[name] for name in dict.fromkeys(self.sets[image_set]))
        return [each.seen for each in looks if each.seen]

    def boxes_by_label(self, image_set: str) -> Counter[str]:
        """How many boxes to keep a set has of each label, spelled as it is to be."""
        return Counter(self.spelling[label] for seen in self.seen(image_set) for label in _labels(seen))


def check_dataset(
    folder: Path, image_sets: Iterable[str] = (), *, labels: Sequence[str] = (), advance: Callable[[int], object] = lambda _: None
) -> Check:
    """Look through `image_sets`, or all there are if none is given.

    labels: the only ones allowed, if given. advance: called with the number of photos after each of them. Raises DatasetError
    where a set does not exist or its list is not to be trusted; what is wrong with photos and annotations becomes findings.
    """
    chosen = tuple(image_sets) or sets(folder)
    listed = {image_set: names(folder, image_set) for image_set in chosen}
    every = list(dict.fromkeys(name for each in listed.values() for name in each))
    if not every:
        raise DatasetError(f"{folder}: {', '.join(chosen)}: nothing is listed.")
    looks = {}
    with ThreadPoolExecutor() as pool:  # decoding leaves the interpreter's lock
        for each in pool.map(lambda name: look(folder, name), every):
            looks[each.name] = each
            advance(len(every))
    spelling = _spelling((each.seen for each in looks.values() if each.seen), labels)
    findings = [finding for each in looks.values() for finding in each.findings]
    findings += _label_findings(looks.values(), spelling, labels)
    findings += _list_findings(listed)
    findings += _photo_findings(listed, looks)
    findings += labelled_findings(folder, looks, spelling, labels, whole=not image_sets)
    if not image_sets:
        findings += _left_over(folder, looks)
    return Check(folder, listed, looks, spelling, tuple(findings))


def _labels(seen: Seen) -> Iterator[str]:
    return (label for label, kept in zip(seen.annotation.labels, seen.kept, strict=True) if kept)


def _spelling(samples: Iterable[Seen], known: Sequence[str]) -> dict[str, str]:
    """Each label -> the known label that means the same, or else the commonest spelling of it (of two, the first by alphabet)."""
    counts = Counter(label for seen in samples for label in seen.annotation.labels)
    best: dict[str, str] = {}
    for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        best.setdefault(label_key(label), label)
    best |= {label_key(label): label for label in known}
    return {label: label if label in known else best[label_key(label)] for label in counts}


def _label_findings(looks: Iterable[Look], spelling: Mapping[str, str], known: Sequence[str]) -> Iterator[Finding]:
    for each in looks:
        for label, count in Counter(each.seen.annotation.labels if each.seen else ()).items():
            wanted = spelling[label]
            if label != wanted:
                yield Finding("spelling", each.name, f"{label[:40]!r} is elsewhere {wanted[:40]!r}.", count)
            if known and wanted not in known:
                yield Finding("unknown-label", each.name, f"{label[:40]!r} is none of {', '.join(known)}.", count)


def _list_findings(listed: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for image_set, members in listed.items():
        for name, count in Counter(members).items():
            if count > 1:
                yield Finding("listed-twice", image_set, f"{name} is listed {count} times.", count - 1)
    for first, second in pairs_apart(listed):
        for name in sorted(set(listed[first]) & set(listed[second])):
            yield Finding("shared-name", name, f"is in {first} and in {second}.")


def pairs_apart(image_sets: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Every two sets that must share no photo, the one that gives way first."""
    return combinations(sorted((each for each in image_sets if each.casefold() in APART), key=lambda each: APART.index(each.casefold())), 2)


def _photo_findings(listed: Mapping[str, Sequence[str]], looks: Mapping[str, Look]) -> Iterator[Finding]:
    groups: dict[bytes, list[str]] = defaultdict(list)
    for name, each in looks.items():
        if each.seen:
            groups[each.seen.digest].append(name)
    members = {image_set: set(each) for image_set, each in listed.items()}
    for group in (group for group in groups.values() if len(group) > 1):
        where = [(name, ", ".join(image_set for image_set in listed if name in members[image_set])) for name in group]
        detail = "; ".join(f"{name} ({image_sets})" for name, image_sets in where)
        leaks = any(a != b for one, two in pairs_apart(listed) for a in members[one] & set(group) for b in members[two] & set(group))
        yield Finding("shared-photo" if leaks else "same-photo", group[0], f"the same bytes: {detail}.", len(group) - 1)


def _left_over(folder: Path, looks: Mapping[str, Look]) -> Iterator[Finding]:
    """What is in the folder and in no set."""
    unlisted = [name for name in every_annotation(folder) if name not in looks]
    for name in unlisted:
        yield Finding("unlisted", _printable(name), "is in no list.")
    used = {each.seen.photo for each in looks.values() if each.seen}
    claimed = {PurePosixPath(name).name for name in (*unlisted, *(each.name for each in looks.values() if not each.seen))}
    for photo in find_photos(folder):
        if photo not in used and photo.stem not in claimed:
            where = _printable(photo.relative_to(folder).as_posix())
            yield Finding("unannotated", where, "has no annotation; where nothing is to be found, one without an <object> says so.")


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
