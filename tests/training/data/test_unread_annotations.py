"""Annotations that no image set can contain, because they are outside of the data set's annotation folder."""

import pytest

from training.data.unread_annotations import describe_unread, unread_annotations

VOC = ("Annotations/p.xml", "JPEGImages/p.jpg")


@pytest.fixture
def make_files(tmp_path):
    """(paths) -> a folder with these files. Lists name p; other files are empty."""

    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("p\n" if path.endswith(".txt") else "", encoding="utf-8")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (("a.xml", "a.JPG", "b.xml", "b.png"), ["a.xml", "b.xml"]),  # LabelImg
        (("p.xml", "p.jpg"), ["p.xml"]),  # another image of the same name
        (("more/a.xml", "more/a.jpg"), ["more/a.xml"]),
        (("JPEGImages/a.xml", "JPEGImages/a.jpg"), ["JPEGImages/a.xml"]),
        (("labels/a.xml", "data/a.jpg"), ["labels/a.xml"]),  # FiftyOne
        (("train/a.xml", "train/a.jpg"), ["train/a.xml"]),  # Roboflow
        (("second/Annotations/x/a.xml", "second/JPEGImages/x/a.jpg"), ["second/Annotations/x/a.xml"]),
        (("JPEGImages/p.xml", "xmls/p.xml"), []),  # other annotations of an image that is used
        (("pom.xml", "a.jpg"), []),
        ((".hidden/a.xml", ".hidden/a.jpg", "@eaDir/a.xml", "@eaDir/a.jpg"), []),
        ((), []),
    ],
)
def test_annotations_with_images_outside_of_the_annotation_folder_are_unread(make_files, others, expected):
    for lists in ((), ("ImageSets/Main/train.txt",)):
        folder = make_files(*VOC, *lists, *others)
        assert [path.relative_to(folder).as_posix() for path in unread_annotations(folder)] == expected


@pytest.mark.parametrize(
    "paths",
    [
        ("a.xml", "a.jpg", "b.xml", "b.jpg"),
        ("train/a.xml", "train/a.jpg", "valid/b.xml", "valid/b.jpg"),
        ("Annotations/train/a.xml", "images/train/a.jpg"),
        ("labels/a.xml", "data/a.jpg"),
        (*VOC, "labels/q.xml", "data/p.jpg", "data/q.jpg"),
    ],
)
def test_data_sets_of_one_layout_have_no_unread_annotations(make_files, paths):
    folder = make_files(*paths)
    if "labels/q.xml" in paths:
        make_files("ImageSets/Main/train.txt").joinpath("ImageSets/Main/train.txt").write_text("p\nq\n", encoding="utf-8")
    assert unread_annotations(folder) == []


def test_subfolders_of_a_flat_data_set_are_unread(make_files):
    folder = make_files("a.xml", "a.jpg", "more/b.xml", "more/b.jpg")
    unread = unread_annotations(folder)
    assert unread == [folder / "more/b.xml"]
    assert describe_unread(folder, unread).startswith(
        "only annotations in the folder itself are read. Ignored: 1 other, such as more/b.xml. Move them"
    )


def test_files_next_to_folders_of_image_sets_are_unread(make_files):
    folder = make_files("train/a.xml", "train/a.jpg", "valid/b.xml", "valid/b.jpg", "more/c.xml", "more/c.jpg")
    unread = unread_annotations(folder)
    assert unread == [folder / "more/c.xml"]
    assert describe_unread(folder, unread).startswith(
        "only annotations in the folders of image sets are read. Ignored: 1 other, such as more/c.xml. Rename their folder"
    )


def test_the_description_names_the_command_that_joins_both_parts(make_files):
    folder = make_files(*VOC, "a.xml", "a.jpg", "b.xml", "b.jpg")
    text = describe_unread(folder, unread_annotations(folder))
    assert text.startswith("only annotations in Annotations are read. Ignored: 2 others, such as a.xml.")
    assert text.endswith(f"run `boxwright data merge {folder} OTHER --out NEW`.")


def test_unreadable_lists_and_folders_are_omitted(make_files):
    folder = make_files(*VOC, "ImageSets/Main/train.txt", "ImageSets/Main/val.txt", "a.xml", "a.jpg", "locked/b.xml")
    (folder / "ImageSets/Main/val.txt").write_bytes(b"\xff\xfe\xff")
    (folder / "locked").chmod(0)
    try:
        assert unread_annotations(folder) == [folder / "a.xml"]
    finally:
        (folder / "locked").chmod(0o700)
