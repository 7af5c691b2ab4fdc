"""Join data sets with different labels into a new one, and record which labels are exhaustive in each image.

- Equal image sets are joined: train with train, val with val, valid or Validation. Images of a data set without image sets go to the set
  that its folder is named after, or else to train.
- Annotations that no image set of their data set lists are left out and counted.
- The first data set keeps its names. If the name of a later image is taken, it gets the number of its data set: a, a-2, a-3.
- Annotations are copied byte for byte. Only <filename> changes if an image gets another name.
- The exhaustive labels of an image are those that labelled.json of its data set names, or else all labels of its data set.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import tostring

from training.data.labelled import check_names_exist, read_labelled
from training.data.voc_layout import ALL, DEFAULT_SET, all_annotations, is_name_of_set, set_of_name
from training.data.voc_lists import image_names, image_sets
from training.data.voc_reader import Annotation, image_of, parse_annotation, read_annotation
from training.data.voc_writer import NewDataset, new_dataset, set_text
from training.errors import DatasetError


@dataclass(frozen=True)
class MergeSummary:
    """Contents of a merged data set."""

    images: int
    by_set: dict[str, int]
    boxes: int
    labels: tuple[str, ...]  # sorted
    partial: int  # images in which some of these labels are not exhaustive
    renamed: int
    unlisted: int  # annotations that no image set of their data set lists


@dataclass(frozen=True, eq=False)
class _Source:
    """A data set to be merged."""

    folder: Path
    sets: Mapping[str, Sequence[str]]  # names as listed, by the image set that they join
    annotations: Mapping[str, Annotation]  # by name
    labelled: Mapping[str, frozenset[str]]  # by name, of its partially labelled images
    labels: frozenset[str]
    unlisted: int  # annotations in no set

    @classmethod
    def read(cls, folder: Path) -> "_Source":
        known = [image_set for image_set in image_sets(folder) if image_set != ALL]
        listed = {_usual_name(image_set, known): image_names(folder, image_set) for image_set in known}
        listed = listed or {_default_set(folder): image_names(folder, ALL)}
        annotations = {name: read_annotation(folder, name) for each in listed.values() for name in dict.fromkeys(each)}
        labelled = read_labelled(folder)
        check_names_exist(folder, labelled.keys() - annotations.keys())
        used = (label for annotation in annotations.values() for label in annotation.labels)
        unlisted = len(set(all_annotations(folder)) - annotations.keys())
        return cls(folder, listed, annotations, labelled, frozenset(used).union(*labelled.values()), unlisted)


def _default_set(folder: Path) -> str:
    name = folder.resolve().name
    return (set_of_name(name) if is_name_of_set(name) else None) or DEFAULT_SET


def _usual_name(image_set: str, known: Sequence[str]) -> str:
    """Return "train", "val" or "test" for another word of the same meaning, unless several sets of the data set have that meaning."""
    usual = set_of_name(image_set) if image_set.isalpha() else None
    is_only = sum(set_of_name(each) == usual for each in known) == 1
    return usual if usual and is_only else image_set


def merge_datasets(folders: Sequence[Path], out: Path) -> MergeSummary:
    """Write the images of all `folders` to the new data set `out`, as hard links if the file system supports them, else as copies.

    Raises:
        DatasetError: `out` exists, a folder appears twice, or an annotation or an image is missing or unreadable.
        OSError: A file cannot be written.
    """
    resolved = [folder.resolve() for folder in folders]
    if repeated := [folder for place, folder in enumerate(folders) if resolved[place] in resolved[:place]]:
        raise DatasetError(f"{repeated[0]} appears twice. Name each data set once.")
    sources = [_Source.read(folder) for folder in folders]
    all_labels = frozenset[str]().union(*(source.labels for source in sources))
    new_names = _new_names([source.annotations for source in sources])
    lists: dict[str, list[str]] = {}
    labelled: dict[str, frozenset[str]] = {}
    with new_dataset(out) as new:
        for source, renamed in zip(sources, new_names, strict=True):
            for name, annotation in source.annotations.items():
                _copy(new, source.folder, annotation, renamed[name])
                if not (own := source.labelled.get(name, source.labels)) >= all_labels:
                    labelled[renamed[name]] = own
            for image_set, listed in source.sets.items():
                lists.setdefault(image_set, []).extend(renamed[name] for name in listed)
        for image_set, listed in lists.items():
            new.write_list(image_set, listed)
        new.write_labelled(labelled)
    return MergeSummary(
        sum(len(source.annotations) for source in sources),
        {image_set: len(listed) for image_set, listed in lists.items()},
        sum(len(annotation.labels) for source in sources for annotation in source.annotations.values()),
        tuple(sorted(all_labels)),
        len(labelled),
        sum(old != new for renamed in new_names for old, new in renamed.items()),
        sum(source.unlisted for source in sources),
    )


def _new_names(listed: Sequence[Iterable[str]]) -> list[dict[str, str]]:
    """Return, for each source, its names -> names that are unique in the merged data set."""
    originals = {name for each in listed for name in each}
    taken: set[str] = set()
    made = []
    for number, names in enumerate(listed, start=1):
        made.append({name: name if name not in taken else _free(name, number, originals, taken) for name in names})
        taken |= set(made[-1].values())
    return made


def _free(name: str, number: int, originals: set[str], taken: set[str]) -> str:
    while f"{name}-{number}" in originals or f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def _copy(new: NewDataset, folder: Path, annotation: Annotation, name: str) -> None:
    image = image_of(folder, annotation)
    xml = annotation.path.read_bytes()
    if name != annotation.name:
        root = parse_annotation(annotation.path)
        set_text(root, "filename", f"{PurePosixPath(name).name}{image.suffix}")
        xml = bytes(tostring(root, encoding="utf-8")) + b"\n"
    new.add(name, image, xml, link=True)
