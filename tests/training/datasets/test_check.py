"""Every kind of finding in small generated data sets, and the findings of real data sets."""

import json
from collections import Counter
from time import process_time

import numpy as np
import pytest
from PIL import Image

from training.datasets.check import check_dataset
from training.datasets.findings import FINDING_KINDS
from training.datasets.labelled_findings import labelled_findings, repaired_labelled
from training.datasets.similar_labels import similar_labels
from training.errors import DatasetError
from training.events import Events

DOG = ("dog", 1, 1, 30, 40)


def count_by_kind(check):
    return {kind: count for kind in FINDING_KINDS if (count := sum(each.count for each in check.findings if each.kind == kind))}


def test_a_correct_data_set_has_no_findings(make_dataset):
    check = check_dataset(make_dataset({"a": [DOG], "b": [DOG, ("cat", 31, 1, 60, 40)]}, {"train": ["a"], "val": ["b"]}))
    assert count_by_kind(check) == {}
    assert (check.errors, check.warnings) == (0, 0)
    assert check.boxes_by_label("val") == Counter({"dog": 1, "cat": 1})
    assert [sample.image_path.name for sample in check.samples("train")] == ["a.jpg"]


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([("dog", 5, 5, 5, 20)], {"empty": 1, "no-box": 1}),
        ([("dog", 5, 5, 20, 5), DOG], {"empty": 1}),
        ([("dog", 5.2, 5, 5.1, 20), DOG], {"empty": 1}),
        ([("dog", 20, 5, 5, 30)], {"reversed": 1}),
        ([("dog", 5, 30, 20, 5), ("dog", 50, 30, 40, 5)], {"reversed": 2}),
        ([("dog", 61, 1, 90, 30), DOG], {"elsewhere": 1}),
        ([("dog", -50, 1, -10, 30), DOG], {"elsewhere": 1}),
        ([("dog", 60, 1, 90, 30), DOG], {"elsewhere": 1}),  # one of its 31 pixels is inside
        ([("dog", 59, 1, 90, 30)], {"outside": 1}),
        ([("dog", -5, 1, 30, 45)], {"outside": 1}),
        ([("dog", 0, 0, 30, 30)], {"from-zero": 1}),
        ([("dog", 0, 1, 30, 30), ("dog", 5, 0.4, 61, 30)], {"from-zero": 1, "outside": 1}),
        ([DOG, DOG, ("dog", 2, 1, 30, 40)], {"same-box": 1}),
        ([DOG, ("cat", 1, 1, 30, 40)], {}),
        ([], {"no-box": 1}),
        ([("dog", 1, 1, 60, 40)], {}),
    ],
)
def test_problems_of_boxes_are_findings(make_dataset, objects, expected):
    assert count_by_kind(check_dataset(make_dataset({"a": objects}))) == expected


def test_a_finding_quotes_the_file_and_the_numbers_in_it(make_dataset):
    check = check_dataset(make_dataset({"a": [DOG, ("dog", 0, 5, 20, 41.5), ("dog", 2, 5, 20, 42)]}))
    assert [(finding.kind, finding.where, finding.count, finding.detail) for finding in check.findings] == [
        ("outside", "a", 2, "dog at xmin 0, ymin 5, xmax 20, ymax 41.5 and 1 more.")
    ]


@pytest.mark.parametrize(
    ("objects", "hinted"),
    [
        ([("dog", 0.1, 0.2, 0.5, 0.75), ("dog", 0.4, 0.1, 1, 1)], True),
        ([("dog", 0, 0, 1, 1)], False),
        ([("dog", 0.1, 0.2, 0.5, 0.75), ("dog", 5, 5, 5, 20)], False),
    ],
)
def test_boxes_in_fractions_of_the_image_get_a_hint(make_dataset, objects, hinted):
    details = [finding.detail for finding in check_dataset(make_dataset({"a": objects})).findings if finding.kind in ("empty", "elsewhere")]
    assert [("If these are fractions of the image" in detail) for detail in details] == [hinted] * len(details)
    assert details


def test_missing_and_unreadable_files_are_findings(make_dataset):
    folder = make_dataset({name: [DOG] for name in "abcdefg"}, {"train": list("abcdefg")})
    (folder / "Annotations" / "a.xml").unlink()
    (folder / "Annotations" / "b.xml").write_text("<annotation>")
    (folder / "JPEGImages" / "c.jpg").unlink()
    (folder / "JPEGImages" / "d.jpg").write_bytes(b"")
    (folder / "JPEGImages" / "e.jpg").write_bytes((folder / "JPEGImages" / "e.jpg").read_bytes()[:-400])
    (folder / "JPEGImages" / "f.jpg").write_text("<html>404</html>")
    check = check_dataset(folder)
    assert count_by_kind(check) == {"annotation": 2, "photo": 4}
    assert [each.where for each in check.findings] == list("abcdef")
    assert all(f"{each.where}." in each.detail for each in check.findings)
    assert len(check.samples("train")) == 1


@pytest.mark.parametrize(
    ("annotated_size", "expected"),
    [((60, 40), {}), ((40, 60), {"size": 1}), ((120, 80), {"size": 1}), ((0, 0), {"no-size": 1}), (None, {"no-size": 1})],
)
def test_the_size_in_the_xml_is_compared_with_the_image(make_dataset, annotated, annotated_size, expected):
    folder = make_dataset({"a": [DOG]})
    (folder / "Annotations" / "a.xml").write_text(annotated([DOG], size=annotated_size))
    assert count_by_kind(check_dataset(folder)) == expected


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize(
    ("orientation", "stored", "annotated_size", "expected"),
    [
        (6, (40, 60), (60, 40), {}),  # annotated upright
        (6, (40, 60), (40, 60), {"turned": 1}),
        (6, (40, 60), None, {"no-size": 1, "orientation": 1}),
        (8, (40, 60), (30, 30), {"size": 1}),
        (3, (60, 40), (60, 40), {"orientation": 1}),
        (6, (60, 60), (60, 60), {"orientation": 1}),
        (1, (60, 40), (60, 40), {}),
    ],
)
def test_problems_of_rotated_images_are_findings(make_dataset, annotated, save_image, orientation, stored, annotated_size, expected):
    folder = make_dataset({"a": []})
    save_image(folder / "JPEGImages" / "a.jpg", 1, stored, exif=exif(orientation))
    (folder / "Annotations" / "a.xml").write_text(annotated([("dog", 3, 3, 20, 30)], size=annotated_size))
    assert count_by_kind(check_dataset(folder)) == expected


def test_the_most_frequent_spelling_of_a_label_is_correct(make_dataset):
    names = ("raccoon", "Raccoon", "raccoon", " RACCOON ", "traffic light", "Traffic  Light")
    check = check_dataset(make_dataset({f"a{index}": [(name, 1, 1, 30, 40)] for index, name in enumerate(names)}))
    assert count_by_kind(check) == {"spelling": 3}
    assert check.boxes_by_label("all") == Counter(
        {"raccoon": 4, "Traffic  Light": 2}
    )  # equally frequent spellings: the first in alphabetical order


@pytest.mark.parametrize("label", ["caf\u0065\u0301", "\u200bcaf\u00e9", "caf\u00e9\ufeff", "\u202acaf\u00e9"])
def test_labels_that_look_the_same_are_spellings_of_one_label(make_dataset, label):
    folder = make_dataset({"a": [("caf\u00e9", 1, 1, 30, 40)] * 2, "b": [(label, 1, 1, 30, 40)]}, {"train": ["a", "b"]})
    finding = next(finding for finding in check_dataset(folder).findings if finding.kind == "spelling")
    assert finding.where == "b"
    assert "\\u" in finding.detail  # the difference is visible


def test_allowed_labels_decide_the_spelling_and_what_is_unknown(make_dataset):
    folder = make_dataset({"a": [("raccoon", 1, 1, 30, 40)], "b": [("raccoon", 1, 1, 20, 20), ("racoon", 1, 1, 30, 40)]})
    check = check_dataset(folder, labels=("Raccoon", "fox"))
    assert count_by_kind(check) == {"spelling": 2, "unknown-label": 1}
    (unknown,) = (each for each in check.findings if each.kind == "unknown-label")
    assert (unknown.where, unknown.detail) == ("b", "'racoon' is not among the allowed labels: Raccoon, fox.")


def test_names_listed_twice_or_in_two_sets_are_findings(make_dataset):
    sets = {"train": ["a", "b", "a"], "val": ["b", "c"], "trainval": ["a", "b", "c"], "test": ["c"]}
    check = check_dataset(make_dataset({name: [DOG] for name in "abc"}, sets))
    assert count_by_kind(check) == {"listed-twice": 1, "shared-name": 2}
    assert [(each.where, each.detail) for each in check.findings if each.kind == "shared-name"] == [
        ("b", "is in train and in val."),
        ("c", "is in val and in test."),
    ]


def test_identical_images_are_an_error_across_sets(make_dataset):
    folder = make_dataset({name: [DOG] for name in "abcde"}, {"Train": ["a", "b", "c"], "Validation": ["d", "e"]})
    images = folder / "JPEGImages"
    (images / "b.jpg").write_bytes((images / "a.jpg").read_bytes())
    (images / "d.jpg").write_bytes((images / "c.jpg").read_bytes())
    check = check_dataset(folder)
    assert count_by_kind(check) == {"same-photo": 1, "shared-photo": 1}
    assert {each.detail for each in check.findings} == {
        "identical files: a (Train); b (Train).",
        "identical files: c (Train); d (Validation).",
    }


def test_unlisted_files_are_findings_only_if_all_sets_are_checked(make_dataset, save_image):
    folder = make_dataset({name: [DOG] for name in "abc"}, {"train": ["a"], "val": ["b"]})
    save_image(folder / "JPEGImages" / "lonely.png", 9)
    check = check_dataset(folder)
    assert {(each.kind, each.where) for each in check.findings} == {("unlisted", "c"), ("unannotated", "JPEGImages/lonely.png")}
    assert count_by_kind(check_dataset(folder, ["train"])) == {}
    assert list(check_dataset(folder, ["train"]).inspections) == ["a"]


def test_an_unknown_or_empty_set_is_refused(make_dataset):
    folder = make_dataset({"a": [DOG]}, {"train": ["a"], "val": []})
    with pytest.raises(DatasetError, match="no image set 'test'"):
        check_dataset(folder, ["test"])
    with pytest.raises(DatasetError, match="val: the list is empty"):
        check_dataset(folder, ["val"])


def test_progress_is_reported_once_per_image(make_dataset):
    totals = []

    class RecordTotals(Events):
        def image_checked(self, total):
            totals.append(total)

    check_dataset(make_dataset({name: [DOG] for name in "abc"}, {"train": list("abc"), "val": ["a"]}), events=RecordTotals())
    assert totals == [3, 3, 3]


def test_corrected_boxes_of_a_rotated_image_enclose_the_same_pixels(make_dataset, annotated):
    folder = make_dataset({"a": []})
    pixels = np.zeros((60, 40, 3), np.uint8)
    pixels[9:31, 4:17] = 255  # rows, columns, as stored
    Image.fromarray(pixels).save(folder / "JPEGImages" / "a.png", exif=exif(6))
    (folder / "Annotations" / "a.xml").write_text(annotated([("dog", 5, 10, 17, 31)], size=(40, 60), filename="a.png"))
    (sample,) = check_dataset(folder).samples("all")
    upright = np.rot90(pixels[..., 0], -1)  # orientation 6: rotate clockwise to display
    rows, columns = np.nonzero(upright)
    np.testing.assert_array_equal(sample.boxes, [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])


def test_real_data_sets_have_the_known_findings(shared):
    checks = {name: check_dataset(shared / "data" / name) for name in ("raccoon", "bccd", "coco128")}
    assert count_by_kind(checks["raccoon"]) == {"shared-photo": 1, "same-photo": 3}
    assert count_by_kind(checks["bccd"]) == {"empty": 2}
    assert count_by_kind(checks["coco128"]) == {"no-box": 31}
    assert {each.detail for each in checks["bccd"].findings} == {
        "RBC at xmin 181, ymin 329, xmax 181, ymax 329.",
        "RBC at xmin 504, ymin 337, xmax 504, ymax 337.",
    }


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (("raccoon", "racoon"), 1),
        (("bicycle", "bycicle"), 0),
        (("bicycle", "bicylce"), 1),
        (("persons", "person"), 1),
        (("cat", "car"), 0),
        (("class1", "class2"), 0),
        (("lizard", "wizard"), 1),
        (("raccoon", "elephant"), 0),
    ],
)
def test_labels_that_differ_by_one_letter_are_a_finding(make_dataset, labels, pairs):
    check = check_dataset(make_dataset({"a": [(label, 1, 1, 30 + index, 40) for index, label in enumerate(labels)]}))
    assert sum(finding.kind == "similar-label" for finding in check.findings) == pairs
    assert check.errors == 0


def test_labels_of_a_data_set_with_very_many_are_not_compared():
    """One annotation of 5 MB can have 40,000 labels, and comparing them would take half an hour."""
    labels = [f"label {'x' * (number % 3)} {number}" for number in range(10_000)]
    started = process_time()
    assert list(similar_labels(labels)) == []
    assert process_time() - started < 5


def test_linked_folders_are_a_finding(make_dataset, tmp_path):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]})
    (tmp_path / "other").mkdir()
    (folder / "JPEGImages" / "more").symlink_to(tmp_path / "other")
    assert [(finding.kind, finding.where) for finding in check_dataset(folder).findings] == [("linked-folder", "JPEGImages/more")]


def test_the_labels_of_labelled_json_are_compared_in_linear_time(tmp_path):
    labels = [f"label {number}" for number in range(5000)]
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "labelled.json").write_text(json.dumps({"a": [*labels, "Label 7"], "b": labels}))
    spelling = {label: label for label in labels}
    started = process_time()
    (finding,) = labelled_findings(tmp_path, {"a", "b"}, spelling, (), complete=True)
    assert repaired_labelled(tmp_path, {"a"}, spelling) == {"a": frozenset(labels)}
    assert process_time() - started < 8
    assert finding.detail == "'Label 7' (1 image) is spelled 'label 7' elsewhere."
