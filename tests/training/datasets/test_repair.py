"""A repaired copy passes the check, and its valid content is unchanged."""

import numpy as np
import pytest
from PIL import Image

from training.data.voc_lists import image_sets
from training.data.voc_reader import parse_annotation, read_sample, read_set
from training.datasets.check import check_dataset
from training.datasets.repair import RepairSummary, repair_dataset
from training.errors import DatasetError

DOG = ("dog", 1, 1, 30, 40)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def faulty(make_dataset, annotated, save_image):
    """A data set with one problem of each kind."""
    folder = make_dataset(
        {
            "valid": [DOG],
            "boxes": [("dog", -5, 3, 70, 30), ("dog", 5, 5, 5, 5), ("dog", 80, 1, 90, 9), ("dog", 20, 30, 10, 12), DOG, DOG],
            "case": [("Dog", 1, 1, 9, 9)],
            "no-photo": [DOG],
            "malformed-xml": [DOG],
            "resized": [],
            "rotated": [],
            "both": [DOG],
            "copy": [DOG],
            "sub/deep": [DOG],
        },
        {
            "train": ["valid", "boxes", "case", "no-photo", "both", "valid", "resized", "copy"],
            "val": ["malformed-xml", "rotated", "both", "sub/deep"],
        },
    )
    images, annotations = folder / "JPEGImages", folder / "Annotations"
    (images / "no-photo.jpg").unlink()
    (annotations / "malformed-xml.xml").write_text("<annotation>")
    (annotations / "resized.xml").write_text(annotated([("dog", 11, 21, 60, 80)], size=(120, 80)))
    tags = Image.Exif()
    tags[0x0112] = 6
    save_image(images / "rotated.jpg", 50, (40, 60), exif=tags)
    (annotations / "rotated.xml").write_text(annotated([("dog", 5, 10, 17, 31)], size=(40, 60)))
    (images / "copy.jpg").write_bytes((images / "sub" / "deep.jpg").read_bytes())
    return folder


def test_the_copy_has_no_errors_and_the_original_is_unchanged(faulty, tmp_path):
    before = files(faulty)
    check = check_dataset(faulty)
    summary = repair_dataset(check, tmp_path / "fixed")
    assert check.errors > 0
    assert summary == RepairSummary(images=7, rewritten=4, left_out=3)
    repaired = check_dataset(tmp_path / "fixed")
    assert (repaired.errors, repaired.warnings) == (0, 0)
    assert files(faulty) == before


def test_lists_keep_their_order_without_invalid_names_and_names_in_both_sets(faulty, tmp_path):
    repair_dataset(check_dataset(faulty), tmp_path / "fixed")
    assert [sample.name for sample in read_set(tmp_path / "fixed", "train")] == ["valid", "boxes", "case", "resized"]
    assert [sample.name for sample in read_set(tmp_path / "fixed", "val")] == ["rotated", "both", "sub/deep"]


def test_boxes_are_clipped_dropped_corrected_scaled_and_rotated(faulty, tmp_path):
    repair_dataset(check_dataset(faulty), tmp_path / "fixed")
    boxes = {name: read_sample(tmp_path / "fixed", name).boxes.tolist() for name in ("boxes", "resized", "rotated", "valid")}
    assert boxes == {
        "boxes": [[0, 2, 60, 30], [9, 11, 20, 30], [0, 0, 30, 40]],
        "resized": [[5, 10, 30, 40]],
        "rotated": [[60 - 31, 4, 60 - 9, 17]],  # rotated clockwise: the distance from the bottom becomes the distance from the left
        "valid": [[0, 0, 30, 40]],
    }
    assert read_sample(tmp_path / "fixed", "case").labels == ("dog",)
    size = parse_annotation(tmp_path / "fixed" / "Annotations" / "rotated.xml").find("size")
    assert [size.findtext(side) for side in ("width", "height")] == ["60", "40"]


def test_images_and_correct_annotations_are_copied_byte_for_byte(faulty, tmp_path):
    repair_dataset(check_dataset(faulty), tmp_path / "fixed")
    before, after = files(faulty), files(tmp_path / "fixed")
    images = [name for name in after if name.startswith("JPEGImages/")]
    assert len(images) == 7
    for name in [*images, "Annotations/valid.xml", "Annotations/sub/deep.xml"]:
        assert after[name] == before[name]


def test_correct_parts_of_an_annotation_are_kept(make_dataset, tmp_path):
    folder = make_dataset({"a": [DOG]})
    (folder / "Annotations" / "a.xml").write_text(
        "<?xml version='1.0' encoding='ISO-8859-1'?><annotation verified='yes'><source><database>Käfer</database></source>"
        "<object><name>dog</name><pose>Left</pose><truncated>1</truncated><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>30.25</xmax>"
        "<ymax>99</ymax></bndbox><part><name>head</name></part></object></annotation>",
        encoding="latin-1",
    )
    repair_dataset(check_dataset(folder), tmp_path / "fixed")
    root = parse_annotation(tmp_path / "fixed" / "Annotations" / "a.xml")
    element = root.find("object")
    assert root.get("verified") == "yes"
    assert root.findtext("source/database") == "Käfer"
    assert [element.findtext(tag) for tag in ("pose", "truncated", "part/name", "bndbox/xmax", "bndbox/ymax")] == [
        "Left",
        "1",
        "head",
        "30.25",
        "40",
    ]
    assert [root.findtext(tag) for tag in ("filename", "size/width", "size/height")] == ["a.jpg", "60", "40"]


def test_repairing_a_repaired_copy_changes_nothing(faulty, tmp_path):
    repair_dataset(check_dataset(faulty), tmp_path / "fixed")
    summary = repair_dataset(check_dataset(tmp_path / "fixed"), tmp_path / "again")
    assert summary == RepairSummary(images=7, rewritten=0, left_out=0)
    assert files(tmp_path / "again") == files(tmp_path / "fixed")


def test_a_labelimg_folder_becomes_voc_layout_without_lists(tmp_path, annotated, save_image):
    save_image(tmp_path / "flat" / "a.png", 1)
    (tmp_path / "flat" / "b.xml").write_text(annotated([("dog", 0, 1, 9, 9)], filename="a.png"))
    repair_dataset(check_dataset(tmp_path / "flat"), tmp_path / "fixed")
    assert image_sets(tmp_path / "fixed") == ("all",)
    assert sorted(files(tmp_path / "fixed")) == ["Annotations/b.xml", "JPEGImages/b.png"]
    np.testing.assert_array_equal(read_sample(tmp_path / "fixed", "b").boxes, [[0, 0, 9, 9]])


def test_unknown_labels_stay(make_dataset, tmp_path):
    folder = make_dataset({"a": [DOG, ("cta", 1, 1, 9, 9)]})
    repair_dataset(check_dataset(folder, labels=["dog", "cat"]), tmp_path / "fixed")
    assert read_sample(tmp_path / "fixed", "a").labels == ("dog", "cta")


def test_an_existing_folder_is_refused(make_dataset, tmp_path):
    check = check_dataset(make_dataset({"a": [DOG]}))
    (tmp_path / "fixed").mkdir()
    with pytest.raises(DatasetError, match="exists already"):
        repair_dataset(check, tmp_path / "fixed")
    assert not list((tmp_path / "fixed").iterdir())


def test_a_data_set_without_usable_samples_is_refused(make_dataset, tmp_path):
    folder = make_dataset({"a": [DOG]})
    (folder / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match="no sample can be repaired"):
        repair_dataset(check_dataset(folder), tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_repaired_real_data_sets_have_no_errors(shared, tmp_path):
    for name, expected in {"raccoon": RepairSummary(161, 0, 1), "bccd": RepairSummary(292, 2, 0)}.items():
        assert repair_dataset(check_dataset(shared / "data" / name), tmp_path / name) == expected
        assert check_dataset(tmp_path / name).errors == 0
