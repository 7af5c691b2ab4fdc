"""Merging data sets with different labels: exhaustive labels of each image, names and image sets."""

import json
from time import process_time

import pytest

from training.data.labelled import LABELLED_FILE, read_labelled
from training.data.voc_lists import image_sets
from training.data.voc_reader import parse_annotation, read_annotation, read_set
from training.datasets.check import check_dataset
from training.datasets.merge import MergeSummary, _new_names, merge_datasets
from training.errors import DatasetError

DOG, CAT, COW = (("dog", 1, 1, 30, 40), ("cat", 31, 1, 60, 40), ("cow", 5, 5, 25, 25))


@pytest.fixture
def sources(make_dataset):
    """A data set of dogs, and one of cats and cows in which one image is labelled for cats only. Both have an image a."""
    dogs = make_dataset({"a": [DOG], "b": [], "sub/c": [DOG, DOG]}, {"train": ["b", "a"], "val": ["sub/c"]}, "dogs")
    others = make_dataset({"a": [CAT], "a-2": [COW], "d": []}, {"train": ["a", "a-2"], "test": ["d"]}, "others")
    (others / LABELLED_FILE).write_text(json.dumps({"a": ["cat"]}))
    return [dogs, others]


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_image_is_labelled_for_the_labels_of_its_own_source(sources, tmp_path):
    before = [files(folder) for folder in sources]
    summary = merge_datasets(sources, tmp_path / "merged")
    assert summary == MergeSummary(6, {"train": 4, "val": 1, "test": 1}, 5, ("cat", "cow", "dog"), partial=6, renamed=1, unlisted=0)
    dog, cat, both = frozenset({"dog"}), frozenset({"cat"}), frozenset({"cat", "cow"})
    assert read_labelled(tmp_path / "merged") == {"a": dog, "b": dog, "sub/c": dog, "a-3": cat, "a-2": both, "d": both}
    assert (
        check_dataset(tmp_path / "merged").errors == 1
    )  # make_dataset writes equal images into both sources: sub/c in val equals d in test
    assert [files(folder) for folder in sources] == before


def test_image_sets_are_merged_in_the_order_of_the_sources(sources, tmp_path):
    merge_datasets(sources, tmp_path / "merged")
    assert image_sets(tmp_path / "merged") == ("test", "train", "val")
    train = read_set(tmp_path / "merged", "train")
    assert [(sample.name, sample.labels) for sample in train] == [("b", ()), ("a", ("dog",)), ("a-3", ("cat",)), ("a-2", ("cow",))]
    for name, (source, old) in {"a": (0, "a"), "a-3": (1, "a"), "a-2": (1, "a-2")}.items():
        merged, original = read_annotation(tmp_path / "merged", name), read_annotation(sources[source], old)
        assert merged.boxes.tolist() == original.boxes.tolist()
        (sample,) = (sample for sample in train if sample.name == name)
        assert sample.image_path.read_bytes() == (sources[source] / "JPEGImages" / f"{old}.jpg").read_bytes()
    assert read_annotation(tmp_path / "merged", "a-3").filename == "a-3.jpg"


@pytest.mark.parametrize(
    ("names", "merged"),
    [
        (("train", "valid"), {"train": 2, "val": 2}),
        (("Train", "Validation"), {"train": 2, "val": 2}),
        (("trainset", "test"), {"train": 2, "val": 1, "test": 1}),
        (("val", "valid"), {"train": 1, "val": 2, "valid": 1}),
        (("trainval", "val_2024"), {"train": 1, "val": 1, "trainval": 1, "val_2024": 1}),
    ],
)
def test_image_sets_with_another_word_of_the_same_meaning_are_joined(make_dataset, tmp_path, names, merged):
    first = make_dataset({"a": [], "b": []}, {"train": ["a"], "val": ["b"]}, "first")
    second = make_dataset({"c": [], "d": []}, {names[0]: ["c"], names[1]: ["d"]}, "second")
    assert merge_datasets([first, second], tmp_path / "merged").by_set == merged


def test_annotations_in_no_image_set_are_counted(make_dataset, tmp_path):
    first = make_dataset({"a": [DOG], "b": [DOG], "sub/c": []}, {"train": ["a"]}, "first")
    second = make_dataset({"d": [], "e": []}, folder="second")
    summary = merge_datasets([first, second], tmp_path / "merged")
    assert (summary.images, summary.unlisted) == (3, 2)


def test_other_content_of_annotations_is_kept(sources, tmp_path):
    path = sources[1] / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("<difficult>0</difficult>", "<difficult>1</difficult><crowd>1</crowd><pose>Left</pose>"))
    merge_datasets(sources, tmp_path / "merged")
    root = parse_annotation(tmp_path / "merged" / "Annotations" / "a-3.xml")
    assert root.findtext("object/pose") == "Left"
    assert read_annotation(tmp_path / "merged", "a-3").crowd.tolist() == [True]


def test_images_are_hard_links_if_the_file_system_supports_them(sources, tmp_path):
    merge_datasets(sources, tmp_path / "merged")
    assert (tmp_path / "merged/JPEGImages/a.jpg").samefile(sources[0] / "JPEGImages/a.jpg")
    assert not (tmp_path / "merged/Annotations/a.xml").samefile(sources[0] / "Annotations/a.xml")


def test_sources_with_the_same_labels_need_no_labelled_json(make_dataset, tmp_path):
    folders = [make_dataset({"a": [DOG], "b": [CAT]}, {"train": ["a", "b"]}, name) for name in ("first", "second")]
    assert merge_datasets(folders, tmp_path / "merged").partial == 0
    assert not (tmp_path / "merged" / LABELLED_FILE).exists()


def test_a_source_without_image_sets_goes_to_train_and_a_merged_set_can_be_merged_again(sources, make_dataset, tmp_path):
    merge_datasets(sources, tmp_path / "merged")
    flat = make_dataset({"e": [DOG]}, folder="flat")
    summary = merge_datasets([tmp_path / "merged", flat], tmp_path / "again")
    assert summary.by_set == {"test": 1, "train": 5, "val": 1}
    assert read_labelled(tmp_path / "again") == read_labelled(tmp_path / "merged") | {"e": frozenset({"dog"})}


@pytest.mark.parametrize(
    ("folders", "merged"), [(("train", "Valid", "test2017"), {"train", "val", "test"}), (("my_test", "val-old"), {"train"})]
)
def test_a_source_without_image_sets_goes_to_the_set_that_its_folder_is_named_after(tmp_path, annotated, save_image, folders, merged):
    for name in folders:
        save_image(tmp_path / name / "images" / f"{name}.jpg", 1)
        (tmp_path / name / "Annotations").mkdir()
        (tmp_path / name / "Annotations" / f"{name}.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    summary = merge_datasets([tmp_path / name for name in folders], tmp_path / "merged")
    assert summary.by_set.keys() == merged


def test_an_image_in_two_sets_is_written_once(make_dataset, tmp_path):
    folders = [make_dataset({name: [DOG]}, {"train": [name], "trainval": [name]}, name) for name in "ab"]
    summary = merge_datasets(folders, tmp_path / "merged")
    assert (summary.images, summary.by_set) == (2, {"train": 2, "trainval": 2})


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(sources, tmp_path):
    with pytest.raises(DatasetError, match="exists already"):
        merge_datasets(sources, sources[0])
    with pytest.raises(DatasetError, match=r"dogs appears twice\. Name each data set once"):
        merge_datasets([sources[0], sources[1], sources[0] / "." / "../dogs"], tmp_path / "merged")
    (sources[1] / "JPEGImages" / "d.jpg").unlink()
    with pytest.raises(DatasetError, match=r"d\.xml: its image is in none of"):
        merge_datasets(sources, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dogs", "others"]


def test_a_source_whose_labelled_json_names_an_unknown_image_is_refused(sources, tmp_path):
    (sources[1] / LABELLED_FILE).write_text(json.dumps({"missing": ["cat"]}))
    with pytest.raises(DatasetError, match="'missing' has no annotation"):
        merge_datasets(sources, tmp_path / "merged")


def test_images_of_large_data_sets_with_equal_names_get_new_names_fast():
    names = [str(number) for number in range(20_000)]
    started = process_time()
    first, second = _new_names([names, names])
    assert process_time() - started < 10
    assert (first["7"], second["7"]) == ("7", "7-2")
