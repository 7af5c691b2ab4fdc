"""A repaired copy of a checked data set.

Photos are copied byte for byte, turned ones too: encoding them anew would cost quality, and every reader here turns them. Instead
their boxes are brought into the upright frame. Of an annotation that needs mending only that is changed; sound ones are copied.

- boxes: reversed ones put right, those over the border clipped, empty ones and repetitions dropped;
- boxes drawn at another size than the photo has are scaled if only the size differs, not the shape; <size> becomes the photo's;
- labels: one spelling each, in labelled.json, too; unknown ones stay;
- left out: samples whose photo or annotation is missing or unreadable;
- names and photos in two sets that are to be apart stay in the later of train, val, test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import tostring

from training.dataset_check import Check, pairs_apart
from training.dataset_look import Seen
from training.dataset_partial import repaired_labelled
from training.errors import DatasetError
from training.voc import parse_annotation
from training.voc_folder import ALL, LISTS, inside
from training.voc_write import new_dataset, set_text, write_box


@dataclass(frozen=True)
class Repaired:
    """What a repaired copy has."""

    photos: int
    rewritten: int  # annotations that were changed
    left_out: int  # names listed in the original and in no list of the copy


def repair(check: Check, out: Path) -> Repaired:
    """Write the repaired copy of what was checked to the new folder `out`.

    Raises DatasetError where `out` is there already or nothing would be left, OSError where the disk refuses.
    """
    lists = _lists(check)
    wanted = list(dict.fromkeys(name for names in lists.values() for name in names))
    if not wanted:
        raise DatasetError(f"{check.folder}: no sample is left that could be repaired.")
    rewritten = 0
    with new_dataset(out) as new:
        for name in wanted:
            seen = check.looks[name].seen
            assert seen is not None
            xml = _mended(seen, check.spelling)
            rewritten += xml is not None
            new.add(name, seen.photo, seen.annotation.path.read_bytes() if xml is None else xml)
        for image_set, names in lists.items():
            if image_set != ALL or inside(check.folder, LISTS / f"{ALL}.txt"):
                new.write_list(image_set, names)
        new.write_labelled(repaired_labelled(check.folder, set(wanted), check.spelling))
    return Repaired(len(wanted), rewritten, len(check.looks) - len(wanted))


def _lists(check: Check) -> dict[str, list[str]]:
    """Each set without its repetitions, without what is broken, and without what a set has that is to be apart from it."""
    lists = {each: [seen.annotation.name for seen in check.seen(each)] for each in check.sets}
    for first, second in pairs_apart(lists):
        taken = {_digest(check, name) for name in lists[second]}
        lists[first] = [name for name in lists[first] if _digest(check, name) not in taken]
    return lists


def _digest(check: Check, name: str) -> bytes:
    seen = check.looks[name].seen
    assert seen is not None
    return seen.digest


def _mended(seen: Seen, spelling: Mapping[str, str]) -> bytes | None:
    """The annotation as it should be, everything else in it kept; None if it is so already."""
    labels = [spelling[label] for label in seen.annotation.labels]
    if seen.is_sound and labels == list(seen.annotation.labels):
        return None
    return _rewritten(seen, labels)


def _rewritten(seen: Seen, labels: Sequence[str]) -> bytes:
    root = parse_annotation(seen.annotation.path)
    set_text(root, "filename", f"{Path(seen.annotation.name).name}{seen.photo.suffix}")
    if root.find("size") is None:
        root.append(root.makeelement("size", {}))
    size = root.find("size")
    assert size is not None
    for side, pixels in zip(("width", "height"), seen.size, strict=True):
        set_text(size, side, str(pixels))
    for thing, label, box, written, kept in zip(root.findall("object"), labels, seen.boxes, seen.annotation.boxes, seen.kept, strict=True):
        if not kept:
            root.remove(thing)
            continue
        set_text(thing, "name", label)
        bndbox = thing.find("bndbox")
        assert bndbox is not None
        if (box != written).any():
            write_box(bndbox, box)
    return bytes(tostring(root, encoding="utf-8")) + b"\n"
