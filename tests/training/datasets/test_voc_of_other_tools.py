"""VOC-style data sets as public tools write them."""

import pytest

from training.data.calibration_images import calibration_images
from training.data.voc_layout import find_images
from training.data.voc_lists import image_names, image_sets
from training.data.voc_reader import read_annotation, read_set
from training.datasets.check import check_dataset
from training.datasets.split import split_dataset, write_split
from training.errors import DatasetError


@pytest.mark.parametrize(("train", "val"), [("trainset", "valset"), ("TrainImages", "TestData")])
def test_folders_of_sets_may_have_suffixes(tmp_path, annotated, save_image, train, val):
    for seed, name in enumerate((f"{train}/a", f"{val}/b")):
        save_image(tmp_path / f"{name}.jpg", seed)
        (tmp_path / f"{name}.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    assert image_names(tmp_path, "train") == [f"{train}/a"]


def test_roboflows_voc_export_is_read(tmp_path, annotated, save_image):
    for seed, name in enumerate(("train/a", "train/b", "valid/c", "test/d")):
        save_image(tmp_path / f"{name}.jpg", seed)
        (tmp_path / f"{name}.xml").write_text(annotated([("dog", 1, 1, 30, 40)], filename=f"{name[-1]}.jpg"))
    assert image_sets(tmp_path) == ("test", "train", "val")
    assert [sample.name for sample in read_set(tmp_path, "train")] == ["train/a", "train/b"]
    assert [sample.image_path.name for sample in read_set(tmp_path, "val")] == ["c.jpg"]
    assert image_names(tmp_path, "all") == ["test/d", "train/a", "train/b", "valid/c"]
    assert check_dataset(tmp_path).errors == 0


def test_files_of_other_programs_are_ignored(make_dataset, annotated):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]})
    for path in (
        ".ipynb_checkpoints/a-checkpoint.xml",
        "@eaDir/a.xml",
        "__MACOSX/a.xml",
        "#recycle/a.xml",
        "$RECYCLE.BIN/a.xml",
        "._a.xml",
    ):
        file = folder / "Annotations" / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(annotated([]))
    for path in (".thumbs/a.jpg", "@eaDir/a.jpg/b.jpg", "__MACOSX/c.jpg"):
        file = folder / "JPEGImages" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    assert [sample.name for sample in read_set(folder, "all")] == ["a"]
    assert check_dataset(folder).findings == ()


@pytest.mark.parametrize("suffix", [".XML", ".Xml"])
@pytest.mark.parametrize("places", [("JPEGImages", "Annotations"), (".", "."), ("train", "train")])
def test_annotations_with_a_suffix_in_capitals_are_read(tmp_path, annotated, save_image, places, suffix):
    save_image(tmp_path / places[0] / "a.JPG", 1, format="JPEG")
    (tmp_path / places[1]).mkdir(exist_ok=True)
    (tmp_path / places[1] / f"a{suffix}").write_text(annotated([("dog", 1, 1, 30, 40)]))
    assert [sample.labels for sample in read_set(tmp_path, "all")] == [("dog",)]
    assert check_dataset(tmp_path).findings == ()


@pytest.mark.parametrize(
    "line",
    [
        *("a.xml", "JPEGImages/a.jpg", "./JPEGImages/a.jpg", "data/VOC/JPEGImages/a.JPG", "a.jpg", "a"),
        *("JPEGImages/a.jpg Annotations/a.xml", "./JPEGImages/a.jpg\t./Annotations/a.xml", "Annotations/a.xml", "/x/VOC/Annotations/a.xml"),
        *(
            "a\t1",
            "a\t-1",
            "a.jpg 1",
            "a.jpg -1",
            "JPEGImages/a.jpg  1",
            "/home/x/JPEGImages/a.jpg",
            "../a.jpg",
            "JPEGImages\\a.jpg",
            "C:\\VOC\\JPEGImages\\a.jpg",
        ),
    ],
)
def test_a_path_in_a_list_names_its_image(make_dataset, line):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]}, {"train": [line]})
    assert [sample.name for sample in read_set(folder, "train")] == ["a"]


LISTS_OF_VOTT = {
    "dog_train": ["a.jpg 1", "b.jpg -1"],
    "cat_train": ["a.jpg -1", "b.jpg 1"],
    "dog_val": ["c.jpg 1"],
    "cat_val": ["c.jpg -1"],
}


@pytest.mark.parametrize(
    ("lists", "sets"),
    [
        (LISTS_OF_VOTT, {"train": ["a", "b"], "val": ["c"]}),
        ({"train_train": ["a 1", "b -1"], "train_val": ["c 1"]}, {"train": ["a", "b"], "val": ["c"]}),
        ({"dog_train": ["a 1", "b 1"], "cat_train": ["c 1"]}, {"dog_train": ["a", "b"], "cat_train": ["c"]}),
        ({"day_train": ["a", "b"], "day_val": ["c"]}, {"day_train": ["a", "b"], "day_val": ["c"]}),
        ({"dog": ["a.jpg 1", "b.jpg -1", "c.jpg 1"]}, {"dog": ["a", "b", "c"]}),
    ],
)
def test_lists_of_single_classes_are_one_set_if_they_name_the_same_images(make_dataset, lists, sets):
    folder = make_dataset({name: [("dog", 1, 1, 30, 40)] for name in "abc"}, lists)
    assert {name: image_names(folder, name) for name in image_sets(folder)} == sets
    assert check_dataset(folder).errors == 0


@pytest.mark.parametrize(
    ("images", "annotations"),
    [("data", "labels"), ("images", "labels"), ("images", "xmls"), ("img", "Annotations"), ("data", "Annotations")],
)
def test_folders_of_fiftyone_and_others_are_read(tmp_path, annotated, save_image, images, annotations):
    for seed, name in enumerate("ab"):
        save_image(tmp_path / images / f"{name}.jpg", seed)
    (tmp_path / annotations).mkdir()
    (tmp_path / annotations / "a.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    assert [sample.labels for sample in read_set(tmp_path, "all")] == [("dog",)]
    assert [(finding.kind, finding.where) for finding in check_dataset(tmp_path).findings] == [("unannotated", f"{images}/b.jpg")]


def test_a_data_folder_next_to_labelimgs_files_is_no_image_folder(tmp_path, annotated, save_image):
    for seed, name in enumerate(("a.jpg", "b.jpg", "data/icon.jpg")):
        save_image(tmp_path / name, seed)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "a.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    assert [path.name for path in find_images(tmp_path)] == ["a.jpg", "b.jpg"]


def test_the_error_for_annotations_in_a_folder_of_an_unknown_name_suggests_to_rename_it(tmp_path, annotated, save_image):
    save_image(tmp_path / "images" / "a.jpg", 1)
    (tmp_path / "annots").mkdir()
    (tmp_path / "annots" / "a.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    with pytest.raises(DatasetError, match=rf"The .xml files are in {tmp_path / 'annots'}: rename this folder to Annotations") as caught:
        image_sets(tmp_path)
    assert "such as" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.Jpg", "a.JFIF", "a.jPeG"])
def test_voc_images_may_have_suffixes_in_any_case(make_dataset, name):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]})
    (folder / "JPEGImages" / "a.jpg").rename(folder / "JPEGImages" / name)
    assert read_set(folder, "all")[0].image_path.name == name
    assert read_annotation(folder, "a").size == (60, 40)


@pytest.mark.parametrize("image_set", ["train", "val"])
def test_the_error_for_a_folder_without_lists_suggests_data_split(tmp_path, annotated, save_image, image_set):
    save_image(tmp_path / "a.jpg", 1)
    (tmp_path / "a.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    with pytest.raises(DatasetError, match=f"Run `boxwright data split {tmp_path}` first"):
        read_set(tmp_path, image_set)


def test_the_error_for_a_data_set_with_only_a_train_list_suggests_splitting_that_list(make_dataset):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]}, {"train": ["a"]})
    with pytest.raises(DatasetError, match=f"Run `boxwright data split {folder} --set train --force` first"):
        read_set(folder, "val")


@pytest.mark.parametrize("name", ["classes", "labels", "README"])
def test_a_text_that_names_no_annotation_is_no_image_set(make_dataset, name):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]}, {"train": ["a"], "default": ["a"], name: ["dog", "cat", "../x", "x" * 3000]})
    assert image_sets(folder) == ("default", "train")
    assert check_dataset(folder).errors == 0
    (folder / "ImageSets" / "Main" / "train.txt").unlink()
    (folder / "ImageSets" / "Main" / "default.txt").unlink()
    assert image_sets(folder) == ("all",)


def test_the_first_lines_decide_whether_a_text_is_a_list(make_dataset):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]}, {"near": ["x"] * 99 + ["a"], "far": ["x"] * 100 + ["a"]})
    assert image_sets(folder) == ("near",)


@pytest.mark.parametrize("place", ["ImageSets", "."])
@pytest.mark.parametrize("line", ["{}", "JPEGImages/{}.jpg Annotations/{}.xml"])
def test_lists_outside_of_image_sets_main_are_read(make_dataset, place, line):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)], "b": [("dog", 1, 1, 30, 40)]})
    (folder / place).mkdir(exist_ok=True)
    for name, image_set in (("a", "train"), ("b", "val")):
        (folder / place / f"{image_set}.txt").write_text(line.format(name, name))
    (folder / place / "label_list.txt").write_text("dog\n")
    (folder / place / "test.txt").write_text("nothing yet\n")
    assert image_sets(folder) == ("train", "val")
    assert [sample.name for sample in read_set(folder, "val")] == ["b"]
    with pytest.raises(DatasetError, match="the images are divided already"):
        write_split(folder, split_dataset(read_set(folder, "all"), val=0.5))
    assert [path.name for path in calibration_images(folder, 9, val_set="val")] == ["a.jpg"]


def test_a_list_with_its_suffix_in_capitals_is_read(make_dataset):
    folder = make_dataset({"a": [("dog", 1, 1, 30, 40)]}, {"train": ["a"]})
    (folder / "ImageSets" / "Main" / "train.txt").rename(folder / "ImageSets" / "Main" / "train.TXT")
    assert image_sets(folder) == ("train",)
    assert image_names(folder, "train") == ["a"]


def test_folders_of_sets_below_annotations_are_image_sets(make_dataset):
    folder = make_dataset({"train/a": [("dog", 1, 1, 30, 40)], "valid/b": [("dog", 1, 1, 30, 40)]})
    assert image_sets(folder) == ("train", "val")
    assert image_names(folder, "val") == ["valid/b"]
    assert image_sets(make_dataset({"train/a": [], "street/b": []}, folder="mixed")) == ("all",)


@pytest.mark.parametrize(("place", "named"), [("images/train", "images"), ("cats", "cats"), ("x/cats", "x/cats")])
def test_the_message_names_the_folder_of_a_nested_data_set(tmp_path, annotated, save_image, place, named):
    save_image(tmp_path / place / "a.jpg", 1)
    (tmp_path / place / "a.xml").write_text(annotated([("dog", 1, 1, 30, 40)]))
    with pytest.raises(DatasetError, match=rf"no VOC-style data found.*, such as {tmp_path / named}\."):
        image_sets(tmp_path)
    assert image_sets(tmp_path / named) in (("train",), ("all",))


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotations><image/></annotations>", "the root element is <annotations>; .* Export the labels from CVAT as Pascal VOC"),
        ('<?xml version="1.0" encoding="utf-16"?><annotation/>', "Delete encoding=... from the first line"),
        ("<annotation><objects><object><name>dog</name><bndbox/></object></objects></annotation>", "<bndbox> is in no <object>"),
    ],
)
def test_annotations_of_other_forms_are_refused_with_advice(make_dataset, xml, message):
    folder = make_dataset({"a": []})
    (folder / "Annotations" / "a.xml").write_text(xml)
    with pytest.raises(DatasetError, match=message):
        read_annotation(folder, "a")


BOX = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>30</xmax><ymax>35</ymax></bndbox>"


@pytest.mark.parametrize(
    ("name", "flag", "label", "difficult"),
    [
        ("dog", "<difficult> </difficult>", "dog", False),
        ("dog", "<difficult>Unspecified</difficult>", "dog", False),
        ("dog", "<difficult>0.0</difficult>", "dog", False),
        ("dog", "<difficult>1.0</difficult>", "dog", True),
        ("\n  traffic\n    light\n", "", "traffic light", False),
    ],
)
def test_flags_and_labels_of_other_tools_are_read(make_dataset, name, flag, label, difficult):
    folder = make_dataset({"a": []})
    text = f"\n<?xml version='1.0'?><annotation><object><name>{name}</name>{flag}{BOX}</object></annotation>"
    (folder / "Annotations" / "a.xml").write_text(text)
    annotation = read_annotation(folder, "a")
    assert (annotation.labels, annotation.difficult.tolist()) == ((label,), [difficult])


@pytest.mark.parametrize("content", ["<name>dog</name>" + 2 * BOX, "<name>dog</name><name>cat</name>" + BOX])
def test_an_object_with_two_boxes_or_names_is_refused(make_dataset, content):
    folder = make_dataset({"a": []})
    (folder / "Annotations" / "a.xml").write_text(f"<annotation><object>{content}</object></annotation>")
    with pytest.raises(DatasetError, match=r"an <object> has 2 <\w+>, and only the first would be used"):
        read_annotation(folder, "a")


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("gbk", "gbk"), ("GB2312", "gbk"), ("big5", "big5"), ("Shift_JIS", "shift_jis"), ("euc-kr", "euc-kr"), ("utf-8", "utf-16")],
)
def test_annotations_in_multi_byte_encodings_are_read(make_dataset, annotated, declared, encoding):
    label = "고양이" if declared == "euc-kr" else "犬"
    folder = make_dataset({"a": []})
    xml = f'<?xml version="1.0" encoding="{declared}"?>\n{annotated([(label, 1, 1, 30, 40)])}'
    (folder / "Annotations" / "a.xml").write_bytes(xml.encode(encoding))
    assert read_annotation(folder, "a").labels == (label,)


def test_annotations_in_a_folder_named_labels_are_no_yolo_data(tmp_path, annotated):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.xml").write_text(annotated([]))
    assert image_sets(tmp_path) == ("all",)


@pytest.mark.parametrize(
    ("folders", "unread"),
    [
        (("train", "vaild"), {"vaild": 1}),
        ((".", "train", "valid"), {"train": 1, "valid": 1}),
        (("train", "valid"), {}),
        (("Annotations/a", "Annotations/b"), {}),
        (("Annotations", "Annotations_old"), {"Annotations_old": 1}),
    ],
)
def test_annotations_in_folders_that_are_not_read_are_findings(tmp_path, annotated, save_image, folders, unread):
    for number, folder in enumerate(folders):
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        save_image((tmp_path / "JPEGImages" if "Anno" in folder else place) / f"{number}.jpg", number)
        (place / f"{number}.xml").write_text(annotated([("dog", 1, 1, 30, 40)], filename=f"{number}.jpg"))
    findings = check_dataset(tmp_path).findings
    assert {finding.where: finding.count for finding in findings if finding.kind == "unread"} == unread


@pytest.mark.parametrize("line", ['"a b"', '"a b" 1', '"a b"  -1', "a b", "a b 1"])
def test_the_quoted_names_of_datumaro_and_cvat_are_read(make_dataset, line):
    folder = make_dataset({"a b": [("dog", 1, 1, 30, 40)]}, {"train": [line]})
    assert [sample.name for sample in read_set(folder, "train")] == ["a b"]
