"""Layouts that labelling tools write. No file outside the data set's folder can be reached."""

import os

import numpy as np
import pytest

from training.data.voc_layout import find_images
from training.data.voc_lists import image_names, image_sets
from training.data.voc_reader import read_sample, read_set
from training.errors import DatasetError

DOG = [("dog", 1, 2, 30, 40)]


def test_image_sets_are_the_lists_except_those_of_single_classes(make_dataset):
    folder = make_dataset({"a": DOG, "b": []}, {"train": ["a"], "val_2024": ["b"], "dog_train": ["a  1"], "cat_train": ["a -1"]})
    assert image_sets(folder) == ("train", "val_2024")


def test_a_list_with_a_prefix_and_without_flags_is_an_image_set(make_dataset):
    folder = make_dataset({"a": DOG}, {"train": ["a"], "small_train": ["a"]})
    assert image_sets(folder) == ("small_train", "train")


def test_image_sets_may_have_any_name(make_dataset):
    folder = make_dataset({"a": DOG, "b": DOG}, {"Entraînement 1": ["b", "a"]})
    assert [sample.name for sample in read_set(folder, "Entraînement 1")] == ["b", "a"]


def test_labelimg_layout_has_annotations_next_to_images(tmp_path, annotated, save_image):
    for seed, name in enumerate(("IMG_2.JPG", "IMG 10.png", "IMG_1.jpeg")):
        save_image(tmp_path / name, seed)
        stem = name.rpartition(".")[0]
        (tmp_path / f"{stem}.xml").write_text(annotated(DOG, filename=name))
    (tmp_path / "._IMG_2.xml").write_bytes(b"\x00\x05\x16\x07")  # a metadata file that macOS adds to archives
    assert image_sets(tmp_path) == ("all",)
    samples = read_set(tmp_path, "all")
    assert [(sample.name, sample.image_path.name) for sample in samples] == [
        ("IMG 10", "IMG 10.png"),
        ("IMG_1", "IMG_1.jpeg"),
        ("IMG_2", "IMG_2.JPG"),
    ]
    assert all(sample.image_path.parent == tmp_path for sample in samples)


def test_the_filename_decides_between_images_with_different_suffixes(tmp_path, annotated, save_image):
    for seed, ending in enumerate(("jpg", "png")):
        save_image(tmp_path / f"a.{ending}", seed)
    (tmp_path / "a.xml").write_text(annotated(DOG, filename="a.png"))
    assert read_sample(tmp_path, "a").image_path.name == "a.png"


def test_an_image_named_like_its_annotation_is_preferred_to_an_outdated_filename(make_dataset, annotated):
    folder = make_dataset({"a": DOG, "b": DOG})
    (folder / "Annotations" / "a.xml").write_text(annotated(DOG, filename="b.jpg"))
    assert read_sample(folder, "a").image_path.name == "a.jpg"


def test_cvat_layout_has_subfolders_spaces_and_fractions(make_dataset):
    objects = [("dog", 0.0, 1.53, 29.7, 39.99)]
    folder = make_dataset({"cam 1/frame 1": objects, "cam 2/frame 1": []}, {"default": ["cam 1/frame 1", "cam 2/frame 1"]})
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\ndog:128,0,0::\n")
    assert image_sets(folder) == ("default",)
    first, second = read_set(folder, "default")
    assert first.image_path == folder / "JPEGImages" / "cam 1" / "frame 1.jpg"
    np.testing.assert_allclose(first.boxes, [[-1, 0.53, 29.7, 39.99]], rtol=1e-6)
    assert second.image_path == folder / "JPEGImages" / "cam 2" / "frame 1.jpg"
    assert [sample.name for sample in read_set(folder, "all")] == ["cam 1/frame 1", "cam 2/frame 1"]


def test_cvat_filenames_may_include_the_subfolder(make_dataset, annotated, save_image):
    folder = make_dataset({"cam/a": DOG})
    save_image(folder / "JPEGImages" / "cam" / "b.png", 7)
    (folder / "Annotations" / "cam" / "a.xml").write_text(annotated(DOG, filename="cam/b.png"))
    (folder / "JPEGImages" / "cam" / "a.jpg").unlink()
    assert read_sample(folder, "cam/a").image_path == folder / "JPEGImages" / "cam" / "b.png"


def test_label_studio_layout_has_filenames_without_suffix(tmp_path, annotated, save_image):
    save_image(tmp_path / "images" / "7f3a-raccoon.v2.png", 1)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "7f3a-raccoon.v2.xml").write_text(annotated(DOG, filename="7f3a-raccoon.v2"))
    assert image_sets(tmp_path) == ("all",)
    (sample,) = read_set(tmp_path, "all")
    assert (sample.name, sample.image_path) == ("7f3a-raccoon.v2", tmp_path / "images" / "7f3a-raccoon.v2.png")


def test_list_lines_may_have_flags_suffixes_and_windows_line_ends(make_dataset):
    folder = make_dataset({"a": DOG, "b": DOG, "c": DOG, "d 1": DOG})
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes("\ufeffa -1\r\nb.jpg\r\n\r\n  c  \r\nd 1\r\n".encode())
    assert image_names(folder, "train") == ["a", "b", "c", "d 1"]


def test_a_list_named_all_replaces_the_set_of_all_annotations(make_dataset):
    assert image_names(make_dataset({"a": DOG, "b": DOG}, {"all": ["b"]}), "all") == ["b"]


def test_a_folder_without_annotations_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DatasetError, match="no VOC-style data found"):
        image_sets(tmp_path)
    with pytest.raises(DatasetError, match="no VOC-style data found"):
        read_set(tmp_path, "all")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_list_with_a_byte_order_mark_is_read(make_dataset, encoding):
    folder = make_dataset({"ä": DOG}, {"train": ["ä"]})
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes("ä\r\n".encode(encoding))
    assert image_names(folder, "train") == ["ä"]


@pytest.mark.parametrize("data", [b"caf\xe9\n", b"\xff\xfea"], ids=["latin-1", "damaged utf-16"])
def test_a_list_that_is_not_utf_8_is_refused(make_dataset, data):
    folder = make_dataset({"a": DOG}, {"train": ["a"]})
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes(data)
    with pytest.raises(DatasetError, match=r"train\.txt is not UTF-8"):
        read_set(folder, "train")


@pytest.mark.parametrize("name", ["a\x07", "a\x1bb", "a\x85b"])
def test_names_with_control_characters_are_refused(make_dataset, name):
    folder = make_dataset({"a": DOG}, {"train": [name]})
    with pytest.raises(DatasetError, match="characters that a list of names cannot hold"):
        read_set(folder, "train")


def test_an_undecodable_file_name_gives_a_printable_message(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.xml")).write_text("<annotation/>")
    with pytest.raises(DatasetError, match="Rename") as caught:
        read_set(tmp_path, "all")
    assert str(caught.value).isprintable()


@pytest.fixture
def outside_folder(tmp_path, save_image):
    """A folder outside of the data set with an image, an annotation and a list."""
    folder = tmp_path / "outside"
    save_image(folder / "a.jpg", 99)
    (folder / "a.xml").write_text("<annotation/>")
    (folder / "train.txt").write_text("a\n")
    return folder


@pytest.mark.parametrize(
    ("link", "target"),
    [("Annotations/a.xml", "a.xml"), ("JPEGImages/a.jpg", "a.jpg"), ("ImageSets/Main/train.txt", "train.txt")],
)
def test_links_out_of_the_folder_are_refused(make_dataset, outside_folder, link, target):
    folder = make_dataset({"a": DOG}, {"train": ["a"]})
    (folder / link).unlink()
    (folder / link).symlink_to(outside_folder / target)
    with pytest.raises(DatasetError, match="is a link that leads out of the folder"):
        read_set(folder, "train")


def test_a_linked_folder_outside_of_the_data_set_is_refused(make_dataset, outside_folder):
    folder = make_dataset({"b": DOG}, {"train": ["outside/a"]})
    (folder / "Annotations" / "outside").symlink_to(outside_folder)
    with pytest.raises(DatasetError, match="is a link that leads out of the folder"):
        read_set(folder, "train")
    assert image_names(folder, "all") == ["b"]


def test_links_within_the_folder_and_to_the_folder_are_followed(make_dataset, tmp_path):
    folder = make_dataset({"a": DOG, "b": DOG}, {"train": ["a"]})
    (folder / "JPEGImages" / "a.jpg").unlink()
    (folder / "JPEGImages" / "a.jpg").symlink_to("b.jpg")
    (tmp_path / "link").symlink_to(folder)
    (sample,) = read_set(tmp_path / "link", "train")
    assert sample.image_path.read_bytes() == (folder / "JPEGImages" / "b.jpg").read_bytes()


def test_circular_links_pipes_and_folders_are_not_files(make_dataset):
    folder = make_dataset({"a": DOG, "b": DOG, "c": DOG}, {"train": ["a"]})
    for name in "abc":
        (folder / "Annotations" / f"{name}.xml").unlink()
    (folder / "Annotations" / "a.xml").symlink_to("a.xml")
    os.mkfifo(folder / "Annotations" / "b.xml")
    (folder / "Annotations" / "c.xml").mkdir()
    os.mkfifo(folder / "ImageSets" / "Main" / "x_train.txt")
    assert image_sets(folder) == ("train",)
    for name in "abc":
        with pytest.raises(DatasetError, match="annotation is missing"):
            read_sample(folder, name)


@pytest.mark.parametrize("filename", ["../outside/a.jpg", "{}/outside/a.jpg", "..\\outside\\a.jpg", "..", ".", "/", "x" * 300, "a.jpg/"])
def test_a_filename_cannot_lead_out_of_the_folder(make_dataset, annotated, outside_folder, filename):
    folder = make_dataset({"b": DOG})
    (folder / "JPEGImages" / "b.jpg").unlink()
    (folder / "Annotations" / "b.xml").write_text(annotated(DOG, filename=filename.format(outside_folder.parent)))
    with pytest.raises(DatasetError, match=r"b\.xml: its image is in none of"):
        read_sample(folder, "b")


def test_find_images_omits_hidden_files_and_annotated_copies(make_dataset, save_image):
    folder = make_dataset({"a": DOG, "sub/b": []})
    save_image(folder / "JPEGImages" / ".c.jpg", 3)
    save_image(folder / "JPEGImages" / "a.boxes.jpg", 4)
    (folder / "JPEGImages" / "notes.txt").write_text("x")
    assert [path.relative_to(folder).as_posix() for path in find_images(folder)] == ["JPEGImages/a.jpg", "JPEGImages/sub/b.jpg"]


@pytest.mark.parametrize("line", ["a" + " " * 60_000 + "x", "a/" * 1000 + "a.jpg"])
def test_very_long_lines_of_a_list_are_refused(tmp_path, line):
    """Each of these lines would take seconds: the search for its file is quadratic."""
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text(f"{line}\n")
    with pytest.raises(DatasetError, match=r"at most 1,024 and 64 are allowed"):
        list(read_set(tmp_path, "train"))
