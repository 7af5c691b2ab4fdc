"""Import of COCO files: exact conversion, and refused files."""

import json
import random

import numpy as np
import pytest

from training.data.voc_lists import image_sets
from training.data.voc_reader import read_annotation, read_set
from training.datasets.check import check_dataset
from training.datasets.importers.base import ImportSummary, write_imported
from training.datasets.importers.coco import read_coco
from training.datasets.importers.coco_masks import corners_of_mask
from training.errors import DatasetError


def coco_of(samples, sizes):
    """Return samples in COCO's format, as its documentation defines it."""
    labels = sorted({label for sample in samples for label in sample.labels})
    images = [
        {"id": number, "file_name": sample.image_path.name, "width": size[0], "height": size[1]}
        for number, (sample, size) in enumerate(zip(samples, sizes, strict=True), 1)
    ]
    annotations = [
        {
            "id": 100 * number + index,
            "image_id": number,
            "category_id": 10 + labels.index(label),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "segmentation": [],
            "iscrowd": int(difficult),
        }
        for number, sample in enumerate(samples, 1)
        for index, ((x0, y0, x1, y1), label, difficult) in enumerate(
            zip(sample.boxes.tolist(), sample.labels, sample.difficult, strict=True)
        )
    ]
    categories = [{"id": 10 + index, "name": label, "supercategory": "none"} for index, label in enumerate(labels)]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def imported(folder, content, images, image_set="train"):
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    dataset = read_coco(path, images, image_set=image_set)
    return write_imported(dataset, folder / "made"), dataset.notes


def test_real_samples_survive_conversion_exactly(shared, tmp_path):
    folder = shared / "data" / "bccd"
    samples = read_set(folder, "val")
    sizes = [read_annotation(folder, sample.name).size for sample in samples]
    summary, notes = imported(tmp_path, coco_of(samples, sizes), folder / "JPEGImages", "val")
    assert (summary, notes) == (ImportSummary({"val": 87}, 1138, ("Platelets", "RBC", "WBC")), ())
    for ours, theirs in zip(read_set(tmp_path / "made", "val"), samples, strict=True):
        assert (ours.name, ours.labels) == (theirs.name, theirs.labels)
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        assert ours.image_path.read_bytes() == theirs.image_path.read_bytes()
    assert {each.kind for each in check_dataset(tmp_path / "made").findings} == {"empty"}  # the original has the same finding


@pytest.fixture
def coco(tmp_path, save_image):
    """A COCO file with two images, one of them in a subfolder, a crowd, a box with fractional coordinates, and a missing image."""
    save_image(tmp_path / "photos" / "a.jpg", 1)
    save_image(tmp_path / "photos" / "sub" / "b.v1.png", 2)
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 60, "height": 40},
            {"id": 2, "file_name": "sub/b.v1.png"},
            {"id": 3, "file_name": "missing.jpg", "width": 60, "height": 40},
        ],
        "annotations": [
            {"image_id": 1, "category_id": 7, "bbox": [10.28, 5.5, 20.123, 30.25]},
            {"image_id": 1, "category_id": 7, "bbox": [0, 0, 60, 40], "iscrowd": 1},
            {"image_id": 3, "category_id": 7, "bbox": [0, 0, 60, 40]},
        ],
        "categories": [{"id": 7, "name": "traffic light"}, {"id": 9, "name": "unused"}],
    }


def test_fractions_crowds_and_subfolders_are_imported_and_missing_images_reported(coco, tmp_path):
    summary, notes = imported(tmp_path, coco, tmp_path / "photos")
    assert (summary, notes) == (
        ImportSummary({"train": 2}, 2, ("traffic light",)),
        ("1 image named in the file but missing, such as missing.jpg: skipped.",),
    )
    assert image_sets(tmp_path / "made") == ("train",)
    first, second = read_set(tmp_path / "made", "train")
    np.testing.assert_allclose(first.boxes, [[10.28, 5.5, 30.403, 35.75], [0, 0, 60, 40]], atol=1e-3)
    assert first.difficult.tolist() == first.crowd.tolist() == [False, True]
    assert (second.name, second.image_path.name, second.labels) == ("sub/b.v1", "b.v1.png", ())
    assert read_annotation(tmp_path / "made", "sub/b.v1").size == (60, 40)


@pytest.mark.parametrize("file_name", ["/content/data/a.jpg", "..\\..\\a.jpg", "C:\\photos\\a.jpg", "../outside/a.jpg"])
def test_only_the_last_part_of_an_outside_file_name_is_used(coco, tmp_path, save_image, file_name):
    outside = save_image(tmp_path / "outside" / "a.jpg", 9)
    coco["images"][0]["file_name"] = file_name
    imported(tmp_path, coco, tmp_path / "photos")
    copy = read_set(tmp_path / "made", "train")[0].image_path
    assert copy.read_bytes() == (tmp_path / "photos" / "a.jpg").read_bytes() != outside.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.pop("categories"), "categories: Field required"),
        (lambda file: file["annotations"][0].update(bbox=[1, 2, 3]), r"annotations\.0\.bbox"),
        (lambda file: file["annotations"][0].update(bbox=[1, 2, 3, "wide"]), r"annotations\.0\.bbox\.3"),
        (lambda file: file["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), r"annotations\.0\.bbox\.3"),
        (lambda file: file["annotations"][0].update(bbox=[1, 2, 3, 1e300]), r"annotations\.0\.bbox\.3"),
        (lambda file: file["annotations"][0].update(category_id=8), "category 8, which is not in the file"),
        (lambda file: file["annotations"][0].update(image_id=8), "image 8, which is not in the file"),
        (lambda file: file["images"][1].update(id=1), "two images have the same id"),
        (lambda file: file["images"][1].update(file_name="a.jpg"), r"the images 1 \(a\.jpg\) and \d+ \(a\.jpg\) are one file"),
        (lambda file: file["categories"][0].update(name="\x01"), "the label .* has characters that XML cannot hold"),
        (lambda file: file.update(images=[], annotations=[]), "the list of images is empty"),
    ],
)
def test_errors_name_the_invalid_field(coco, tmp_path, change, message):
    change(coco)
    with pytest.raises(DatasetError, match=message):
        imported(tmp_path, coco, tmp_path / "photos")
    assert not (tmp_path / "made").exists()


def test_an_image_linked_from_outside_is_refused(coco, tmp_path, save_image):
    (tmp_path / "photos" / "a.jpg").unlink()
    (tmp_path / "photos" / "a.jpg").symlink_to(save_image(tmp_path / "outside.jpg", 9))
    with pytest.raises(DatasetError, match="link that leads out"):
        imported(tmp_path, coco, tmp_path / "photos")


def test_mutated_files_are_read_or_refused(coco, tmp_path):
    rng, valid, refused = random.Random(5), json.dumps(coco).encode(), 0
    for number in range(300):
        body = bytearray(valid)
        for _ in range(rng.randint(1, 4)):
            position = rng.randrange(len(body))
            body[position : position + rng.randint(0, 3)] = rng.choice(
                [b"", b"-", b"9", b"[", b"}", b'"', b"null", b"1e400", b"\xff", b"[" * 5000]
            )
        (tmp_path / "mutated.json").write_bytes(bytes(body))
        try:
            write_imported(read_coco(tmp_path / "mutated.json", tmp_path / "photos", image_set="train"), tmp_path / f"made{number}")
        except DatasetError:
            refused += 1
    assert 50 < refused < 300


def test_boxes_of_masks_agree_with_pycocotools():
    oracle = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    rng = np.random.default_rng(0)
    for density in (0.02, 0.3, 0.97):
        for _ in range(20):
            height, width = rng.integers(1, 40, 2)
            encoded = oracle.encode(np.asfortranarray(rng.random((height, width)) < density, np.uint8))
            x, y, box_width, box_height = oracle.toBbox(encoded)
            mask = {"size": encoded["size"], "counts": encoded["counts"].decode()}
            expected = (x, y, x + box_width, y + box_height) if box_width else None
            assert corners_of_mask(mask) == expected
