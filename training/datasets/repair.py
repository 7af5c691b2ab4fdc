"""Write a repaired copy of a checked data set.

Images are copied byte for byte, even those stored rotated: encoding them again would reduce their quality, and all our readers rotate them.
Their boxes are transformed to the upright frame instead. Annotations that need no correction are copied. In others, only the faulty parts
change.

- Reversed boxes are corrected, boxes beyond the border are clipped, and empty or repeated boxes are removed.
- Rotated boxes become the upright rectangle around them.
- Boxes annotated at another image size are scaled if the aspect ratio is the same. <size> becomes the size of the image.
- <filename> becomes the name of the image in the copy.
- Each label gets one spelling, also in labelled.json. Unknown labels stay.
- Samples with a missing or unreadable image or annotation are omitted.
- A name or image in two sets that must be disjoint stays in the later one of train, val, test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from training.data.rotated_boxes import is_rotated
from training.data.voc_layout import ALL, LISTS, file_inside
from training.data.voc_reader import ROTATION, parse_annotation, rotation_of
from training.data.voc_writer import new_dataset, set_text, write_box
from training.datasets.check import DatasetCheck, disjoint_pairs
from training.datasets.inspect_sample import InspectedSample
from training.datasets.labelled_findings import repaired_labelled
from training.errors import DatasetError


@dataclass(frozen=True)
class RepairSummary:
    """Contents of a repaired copy."""

    images: int
    rewritten: int  # changed annotations
    left_out: int  # names of the original that are in no list of the copy


def repair_dataset(check: DatasetCheck, out: Path) -> RepairSummary:
    """Write a repaired copy of a checked data set to the new folder `out`.

    Raises DatasetError if `out` exists, or no sample can be repaired, and OSError if a file cannot be read or written.
    """
    lists = _lists(check)
    names = list(dict.fromkeys(name for members in lists.values() for name in members))
    if not names:
        raise DatasetError(f"{check.folder}: no sample can be repaired.")
    rewritten = 0
    with new_dataset(out) as new:
        for name in names:
            sample = _sample(check, name)
            xml = _corrected(sample, check.spelling)
            rewritten += xml is not None
            new.add(name, sample.image_path, sample.annotation.path.read_bytes() if xml is None else xml)
        for image_set, members in lists.items():
            if image_set != ALL or file_inside(check.folder, LISTS / f"{ALL}.txt"):
                new.write_list(image_set, members)
        new.write_labelled(repaired_labelled(check.folder, set(names), check.spelling))
    return RepairSummary(len(names), rewritten, len(check.inspections) - len(names))


def _lists(check: DatasetCheck) -> dict[str, list[str]]:
    """Return the names of the readable samples of each set, once each. An image in two disjoint sets stays only in the later one."""
    lists = {image_set: [sample.annotation.name for sample in check.samples(image_set)] for image_set in check.sets}
    for first, second in disjoint_pairs(lists):
        taken = {_sample(check, name).digest for name in lists[second]}
        lists[first] = [name for name in lists[first] if _sample(check, name).digest not in taken]
    return lists


def _sample(check: DatasetCheck, name: str) -> InspectedSample:
    sample = check.inspections[name].sample
    assert sample is not None
    return sample


def _corrected(sample: InspectedSample, spelling: Mapping[str, str]) -> bytes | None:
    """Return the corrected annotation, or None if it needs no correction."""
    labels = [spelling[label] for label in sample.annotation.labels]
    same_name = sample.annotation.filename in ("", _filename(sample))
    if sample.is_correct and same_name and labels == list(sample.annotation.labels):
        return None
    return _rewritten(sample, labels)


def _rewritten(sample: InspectedSample, labels: Sequence[str]) -> bytes:
    root = parse_annotation(sample.annotation.path)
    set_text(root, "filename", _filename(sample))
    if root.find("size") is None:
        root.append(root.makeelement("size", {}))
    size = root.find("size")
    assert size is not None
    for side, pixels in zip(("width", "height"), sample.size, strict=True):
        set_text(size, side, str(pixels))
    corrections = zip(root.findall("object"), labels, sample.boxes, sample.annotation.boxes, sample.usable, strict=True)
    for element, label, box, annotated_box, usable in corrections:
        if not usable:
            root.remove(element)
            continue
        set_text(element, "name", label)
        bndbox = element.find("bndbox")
        assert bndbox is not None
        rotated = is_rotated(rotation_of(element))
        if rotated or (box != annotated_box).any():
            write_box(bndbox, box)
        if rotated:
            _remove_rotation(element)
    return bytes(tostring(root, encoding="utf-8")) + b"\n"


def _filename(sample: InspectedSample) -> str:
    """Name of the image in the copy."""
    return f"{Path(sample.annotation.name).name}{sample.image_path.suffix}"


def _remove_rotation(element: Element) -> None:
    for attributes in element.iterfind("attributes"):
        for attribute in attributes.findall("attribute"):
            if (attribute.findtext("name") or "").strip() == ROTATION:
                attributes.remove(attribute)
