"""How the images of a COCO file are found, and which are skipped or refused."""

import json
from time import process_time

import pytest

from tests.training.datasets.importers.coco_files import write_coco
from training.data.voc_lists import image_sets
from training.data.voc_reader import read_set
from training.datasets.importers.base import write_imported
from training.datasets.importers.coco import read_coco
from training.datasets.importers.coco_images import ImageFinder
from training.errors import DatasetError


@pytest.mark.parametrize(
    ("file_name", "path"),
    [
        ("A.JPG", "a.jpg"),
        ("a.jpg", "A.JPG"),
        ("IMAGES/a.JPG", "images/A.jpg"),
        ("my%20cat.jpg", "my cat.jpg"),
        ("my%20cat.jpg", "my%20cat.jpg"),
        ("my cat.jpg", "my%20cat.jpg"),
        ("images/My Cat.jpg", "images/my%20cat.JPG"),
        ("caf%C3%A9.jpg", "café.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("folder/a.jpg", "a.jpg"),
        ("data/pets/sub/a.jpg", "images/sub/a.jpg"),
        ("../images/a.jpg", "images/a.jpg"),
        ("images\\a.jpg", "images/a.jpg"),
        ("C:\\Users\\me\\pets\\a.jpg", "images/a.jpg"),
        ("/home/me/pets/a.jpg", "a.jpg"),
        ("https://host.example/pets/my%20cat.jpg?size=large#top", "my cat.jpg"),
        ("s3://bucket/pets/a.jpg", "a.jpg"),
        ("/data/local-files/?d=pets%5Ca.jpg", "images/a.jpg"),
        ("/data/upload/1/0ab3-a.jpg", "images/0ab3-a.jpg"),
        ("a.jpg", "data/a.jpg"),
        ("a.jpg", "img/a.jpg"),
        ("what?.jpg", "what?.jpg"),
    ],
)
def test_coco_images_are_found_under_the_names_that_tools_write(tmp_path, save_image, file_name, path):
    annotations = write_coco(tmp_path, save_image, {"bbox": [10, 5, 20, 30]}, path=path, file_name=file_name)
    dataset = read_coco(annotations, None, image_set="train")
    assert [image.path for image in dataset.images] == [tmp_path / path]
    assert write_imported(dataset, tmp_path / "made").boxes == 1


@pytest.mark.parametrize(
    "names",
    [
        [f"{'/'.join(str(number + level) for level in range(60))}/a.jpg" for number in range(4000)],
        [f"{'a/' * 60}{number}.jpg" for number in range(4000)],
    ],
    ids=["in many folders", "in a deep folder that exists in part"],
)
def test_missing_images_are_found_to_be_missing_fast(tmp_path, names):
    """A file of 20 MB can name 120,000 such images."""
    (tmp_path / "a").mkdir()
    finder = ImageFinder([tmp_path])
    started = process_time()
    assert not any(finder.find(name) for name in names)
    assert process_time() - started < 4


def test_the_images_of_a_cvat_subset_are_found(tmp_path, save_image):
    place = "annotations/instances_default.json"
    annotations = write_coco(tmp_path, save_image, {"bbox": [10, 5, 20, 30]}, place=place, path="images/default/a.jpg")
    assert len(read_coco(annotations, None, image_set="train").images) == 1


def test_a_coco_image_is_missing_if_two_files_differ_from_its_name_in_case(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]}, path="A.jpg", file_name="a.JPG")
    save_image(tmp_path / "a.jpg", 2)
    if not (tmp_path / "A.JPG").exists():  # a file system that distinguishes case
        with pytest.raises(DatasetError, match="none of its images"):
            read_coco(path, None, image_set="train")


@pytest.mark.parametrize("file_name", ["../../etc/a.jpg", "%2e%2e/%2e%2e/a.jpg", "..%5C..%5Ca.jpg", "https://h/%2e%2e/a.jpg", "%00a.jpg"])
def test_a_coco_name_never_leads_out_of_the_folder(tmp_path, save_image, file_name):
    save_image(tmp_path / "a.jpg", 2)
    path = write_coco(tmp_path / "x" / "y", save_image, {"bbox": [1, 2, 3, 4]}, path="other.jpg", file_name=file_name)
    with pytest.raises(DatasetError, match="none of its images"):
        read_coco(path, path.parent, image_set="train")


def test_damaged_coco_images_are_skipped_and_named(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["images"].append({"id": 2, "file_name": "b.jpg", "width": 5, "height": 5})
    path.write_text(json.dumps(content))
    (tmp_path / "b.jpg").write_bytes(b"")
    dataset = read_coco(path, None, image_set="train")
    assert [image.path.name for image in dataset.images] == ["a.jpg"]
    assert dataset.notes == ("1 image that cannot be read: skipped (b.jpg: the image file is empty).",)


def test_two_coco_images_in_different_folders_never_share_one_file(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]}, file_name="x/a.jpg")
    content = json.loads(path.read_text())
    content["images"].append({"id": 2, "file_name": "y/a.jpg"})
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"the images 1 \(x/a\.jpg\) and 2 \(y/a\.jpg\) are one file"):
        read_coco(path, None, image_set="train")


def test_a_missing_coco_image_is_named(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]})
    content = json.loads(path.read_text())
    content["images"].append({"id": 2, "file_name": "B.JPG"})
    path.write_text(json.dumps(content))
    notes = read_coco(path, None, image_set="train").notes
    assert notes == ("1 image named in the file but missing, such as B.JPG: skipped.",)


def test_the_error_for_missing_coco_images_suggests_the_option_photos(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 3, 4]}, path="other/folder/a.jpg", place="json/a.json")
    with pytest.raises(DatasetError, match="Name the folder of the images with --photos"):
        read_coco(path, None, image_set="train")


def test_a_second_image_set_is_added_to_an_existing_data_set(tmp_path, save_image):
    out = tmp_path / "made"
    for name, image_set in (("one", "train"), ("two", "val")):
        path = write_coco(tmp_path / name, save_image, {"bbox": [1, 2, 3, 4]}, path=f"{name}.jpg", file_name=f"{name}.jpg")
        write_imported(read_coco(path, None, image_set=image_set), out)
    assert image_sets(out) == ("train", "val")
    assert [sample.name for sample in read_set(out, "val")] == ["two"]
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    for image_set, message in (("val", "there is an image set 'val' already"), ("test", "two.xml exists already")):
        with pytest.raises(DatasetError, match=message):
            write_imported(read_coco(tmp_path / "two" / "instances.json", None, image_set=image_set), out)
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    assert not list(tmp_path.glob(".*.part"))


def test_a_path_of_many_folders_is_refused(tmp_path, save_image):
    annotations = write_coco(tmp_path, save_image, {"bbox": [1, 1, 2, 2]}, file_name="a/" * 20_000 + "a.jpg")
    with pytest.raises(DatasetError, match="20,001 parts"):
        read_coco(annotations, tmp_path, image_set="train")


def test_an_enormous_image_file_is_not_read(tmp_path, save_image):
    annotations = write_coco(tmp_path, save_image, {"bbox": [1, 1, 2, 2]})
    with (tmp_path / "a.jpg").open("r+b") as image:
        image.truncate(2**40)  # sparse
    with pytest.raises(DatasetError, match="1,099,511,627,776 bytes"):
        read_coco(annotations, tmp_path, image_set="train")


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", ".jpeg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tiff")])
@pytest.mark.parametrize("name", ["a", "a.jpg_large"])
def test_an_image_without_a_usual_suffix_gets_that_of_its_format(tmp_path, save_image, form, suffix, name):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 30, 30]}, file_name=name)
    save_image(tmp_path / name, 1, format=form)
    write_imported(read_coco(path, None, image_set="train"), tmp_path / "made")
    assert [sample.image_path.name for sample in read_set(tmp_path / "made", "train")] == [f"{name}{suffix}"]


def test_line_breaks_in_labels_become_spaces(tmp_path, save_image):
    path = write_coco(tmp_path, save_image, {"bbox": [1, 2, 30, 30]})
    path.write_text(path.read_text().replace('"dog"', '"dog\\n house"'))
    assert write_imported(read_coco(path, None, image_set="train"), tmp_path / "made").labels == ("dog house",)
    assert read_set(tmp_path / "made", "train")[0].labels == ("dog house",)
