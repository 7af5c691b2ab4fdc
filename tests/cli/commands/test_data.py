"""`boxwright data`: its output, files and exit codes."""

import json
from pathlib import Path

import pytest
from PIL import Image

from training.data.voc_reader import read_set

DOG = ("dog", 1, 1, 30, 40)


def test_a_data_set_without_findings_has_exit_code_0(boxwright, make_flat_dataset, tmp_path):
    result = boxwright("data", "check", make_flat_dataset({"a": [DOG], "b": [DOG, ("[red]cat", 1, 1, 9, 9)]}))
    assert (result.code, result.err) == (0, f"Next: boxwright data split {tmp_path / 'flat'}\n")
    assert result.rows == [["[red]cat", "1"], ["dog", "2"], ["boxes", "3"], ["images", "2"], ["0 errors, 0 warnings."]]


def test_warnings_have_exit_code_0_and_errors_1(boxwright, make_flat_dataset):
    result = boxwright("data", "check", make_flat_dataset({"a": [DOG], "b": []}))
    assert result.code == 0
    assert "image without a usable box" in result.out
    assert "0 errors, 1 warning." in result.out
    result = boxwright("data", "check", make_flat_dataset({"a": [DOG], "b": [], "c": [("dog", 5, 5, 5, 5)]}))
    assert result.code == 1
    assert "dog at xmin 5, ymin 5, xmax 5, ymax 5." in result.out
    assert "1 error, 2 warnings." in result.out


def test_no_repair_is_suggested_for_annotations_without_images(boxwright, make_flat_dataset, tmp_path):
    folder = make_flat_dataset({"a": [DOG], "b": [DOG]})
    for file in folder.iterdir():
        if file.suffix != ".xml":
            file.unlink()
    result = boxwright("data", "check", folder)
    assert (result.code, result.err) == (1, "")
    assert "image missing or unreadable" in result.out
    assert "no sample can be repaired" in boxwright("data", "check", folder, "--fix", tmp_path / "fixed").err


def test_json_has_every_finding(boxwright, make_flat_dataset):
    folder = make_flat_dataset({"a": [DOG, DOG], "b": [("Dog", 70, 1, 90, 9)]})
    result = boxwright("data", "check", folder, "--json")
    report = json.loads(result.out)
    assert (result.code, result.err) == (1, "")
    assert (report["folder"], report["errors"], report["warnings"], report["notes"]) == (str(folder), 1, 2, [])
    assert report["sets"] == {"all": {"photos": 2, "boxes": 2, "classes": {"dog": 2}}}
    assert {(finding["kind"], finding["severity"], finding["where"], finding["count"]) for finding in report["findings"]} == {
        ("same-box", "warning", "a", 1),
        ("outside", "warning", "b", 1),
        ("spelling", "error", "b", 1),
    }


def test_allowed_labels_come_from_a_file(boxwright, make_flat_dataset, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\nbird\n")
    result = boxwright("data", "check", make_flat_dataset({"a": [DOG]}), "--labels", tmp_path / "labels.txt")
    assert result.code == 1
    assert "'dog' is not among the allowed labels: cat, bird." in result.out


def test_a_repaired_copy_and_plots_are_written_on_request(boxwright, make_flat_dataset, tmp_path):
    folder = make_flat_dataset({"a": [DOG, ("dog", 70, 1, 90, 9)], "b": [("dog", 5, 5, 5, 5), DOG]})
    result = boxwright("data", "check", folder, "--fix", tmp_path / "fixed", "--out", tmp_path / "plots")
    assert result.code == 1
    assert f"{tmp_path / 'fixed'}: 2 images, 2 annotations changed, 0 images left out." in result.out
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"classes.png", "boxes.png"}
    assert [len(sample.boxes) for sample in read_set(tmp_path / "fixed", "all")] == [2, 1]
    assert boxwright("data", "check", tmp_path / "fixed").code == 0


def test_a_repaired_copy_needs_a_new_folder(boxwright, make_flat_dataset, tmp_path):
    result = boxwright("data", "check", make_flat_dataset({"a": [DOG]}), "--fix", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"boxwright: {tmp_path} exists already")


def test_a_split_is_replaced_only_with_force(boxwright, make_flat_dataset):
    folder = make_flat_dataset({f"p{number}": [DOG] for number in range(10)})
    result = boxwright("data", "split", folder, "--val", "0.3", "--seed", "7", "--json")
    assert json.loads(result.out) == {"photos": {"train": 7, "val": 3}, "boxes": {"dog": {"train": 7, "val": 3}}}
    first = (folder / "ImageSets" / "Main" / "val.txt").read_text()
    again = boxwright("data", "split", folder)
    assert again.code == 2
    assert "--force" in again.err
    result = boxwright("data", "split", folder, "--val", "0.3", "--seed", "7", "--force")
    assert result.code == 0
    assert ["images", "7", "3", "30.0%"] in result.rows
    assert result.err == f"Next: boxwright data preview {folder}\n"
    assert (folder / "ImageSets" / "Main" / "val.txt").read_text() == first
    assert len(read_set(folder, "train")) == 7
    assert boxwright("data", "check", folder, "--set", "val", "--json").code == 0


def test_the_next_step_after_a_repair_is_a_split_unless_the_images_are_split_already(boxwright, make_flat_dataset, tmp_path):
    folder = make_flat_dataset({f"p{number}": [DOG] for number in range(10)})
    for copy, command in (("whole", "split"), ("divided", "preview")):
        result = boxwright("data", "check", folder, "--fix", tmp_path / copy)
        assert result.err == f"Next: boxwright data {command} {tmp_path / copy}\n"
        assert boxwright("data", "split", folder, "--force").code == 0


def test_the_next_step_after_a_check_is_a_split_if_all_images_are_in_train(boxwright, make_flat_dataset):
    folder = make_flat_dataset({f"p{number}": [DOG] for number in range(10)})
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for count, command in ((1, "split {} --force"), (10, "split {} --set train --force")):
        (lists / "train.txt").write_text("".join(f"p{number}\n" for number in range(count)))
        purpose = ", to use the annotations in no list" if count == 1 else ""
        assert boxwright("data", "check", folder).err == f"Next{purpose}: boxwright data {command.format(folder)}\n"
    assert boxwright("data", *command.format(folder).split()).code == 0
    assert boxwright("data", "check", folder).err == f"Next: boxwright data preview {folder}\n"


@pytest.fixture
def mixed(make_flat_dataset):
    """A data set in VOC layout with 10 images, and 10 images with annotations next to them, in one folder."""
    folder = make_flat_dataset({f"p{number}": [DOG] for number in range(20)})
    for place, suffix in (("Annotations", "xml"), ("JPEGImages", "png")):
        (folder / place).mkdir()
        for number in range(10):
            (folder / f"p{number}.{suffix}").rename(folder / place / f"p{number}.{suffix}")
    return folder


def test_two_layouts_in_one_folder_are_a_warning_that_names_the_merge(boxwright, mixed, tmp_path):
    result = boxwright("data", "check", mixed)
    assert (result.code, ["images", "10"] in result.rows) == (0, True)
    assert "0 errors, 10 warnings." in result.out
    assert "only annotations in Annotations are read. Ignored: 10 others, such as p10.xml." in result.out
    assert "image without an annotation" not in result.out
    assert result.err == f"Next, after you moved the unread files to OTHER: boxwright data merge {mixed} OTHER --out NEW\n"
    warning = f"boxwright: {mixed}: only annotations in Annotations are read. Ignored: 10 others"
    assert warning in boxwright("data", "split", mixed).err
    assert warning in boxwright("data", "merge", mixed, mixed, "--out", tmp_path / "twice").err
    other = tmp_path / "other"
    other.mkdir()
    for path in mixed.glob("p*.*"):
        path.rename(other / path.name)
    result = boxwright("data", "merge", mixed, other, "--out", tmp_path / "new")
    assert (result.code, "Ignored" in result.err) == (0, False)
    assert ["images", "18", "2"] in boxwright("data", "check", tmp_path / "new").rows


def test_the_next_step_after_a_check_includes_unlisted_annotations_unless_there_are_further_sets(boxwright, mixed):
    assert boxwright("data", "split", mixed).code == 0
    for path in mixed.glob("p*.*"):
        path.rename(mixed / ("Annotations" if path.suffix == ".xml" else "JPEGImages") / path.name)
    result = boxwright("data", "check", mixed)
    assert "annotation in no list" in result.out
    assert result.err == f"Next, to use the annotations in no list: boxwright data split {mixed} --force\n"
    (mixed / "ImageSets" / "Main" / "test.txt").write_text("p19\n")  # a split would move this image to train or val
    assert boxwright("data", "check", mixed).err == f"Next: boxwright data preview {mixed}\n"
    (mixed / "ImageSets" / "Main" / "test.txt").unlink()
    assert boxwright("data", "split", mixed, "--force").code == 0
    assert boxwright("data", "check", mixed).err == f"Next: boxwright data preview {mixed}\n"


def test_coco_and_yolo_are_imported(boxwright, make_image, tmp_path):
    path = make_image("photos/a.jpg", 80, 50)
    (tmp_path / "instances.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": 80, "height": 50}, {"id": 2, "file_name": "gone.jpg"}],
                "annotations": [{"image_id": 1, "category_id": 1, "bbox": [20, 10, 40, 30]}],
                "categories": [{"id": 1, "name": "dog"}],
            }
        )
    )
    make_image("yolo/images/val/a.jpg", 80, 50)
    for name, text in (("labels/val/a.txt", "0 0.5 0.5 0.5 0.6\n"), ("data.yaml", "names: [dog]\n")):
        (tmp_path / "yolo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "yolo" / name).write_text(text)
    options = {"coco": (tmp_path / "instances.json", "--photos", path.parent, "--set", "val"), "yolo": (tmp_path / "yolo",)}
    for source, arguments in options.items():
        result = boxwright("data", "import", "--from", source, *arguments, "--out", tmp_path / source / "made")
        assert (result.code, result.err) == (0, f"Next: boxwright data check {tmp_path / source / 'made'}\n")
        assert "1 image (1 in val), 1 box; labels: dog." in result.out
        assert ("1 image named in" in result.out) == (source == "coco")
        (sample,) = read_set(tmp_path / source / "made", "val")
        assert (sample.labels, sample.boxes.tolist()) == (("dog",), [[20, 10, 60, 40]])


def test_a_preview_shows_augmented_images(boxwright, make_flat_dataset, model_file, tmp_path):
    folder, out = make_flat_dataset({"a": [DOG], "b": [("cat", 1, 1, 9, 9), DOG]}), tmp_path / "sheet.png"
    options = ("--set", "all", "--model", model_file, "--out", out, "--mosaic", 0, "--count", 3, "--sizes", 96)
    result = boxwright("data", "preview", folder, *options)
    assert result.code == 0
    assert f"{out}: 3 images of 96 pixels, " in result.out
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
    for wrong, sentence in (
        (("--out", tmp_path / "sheet.webp"), "Give a name that ends in .jpg, .jpeg, .png."),
        (("--labels", "cow"), "--labels: the training set has no class 'cow'. Its classes are cat, dog."),
        (("--mosaic", 2), "mosaic: Input should be less than or equal to 1, got 2.0"),
    ):
        result = boxwright("data", "preview", folder, *options, *wrong)
        assert result.code == 2
        assert sentence in " ".join(result.err.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["check"], ["split"], ["import", "--from", "yolo", "--out", "made"]], ids=" ".join)
def test_a_folder_that_is_not_a_data_set_is_reported_in_one_sentence(boxwright, tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = boxwright("data", *arguments, tmp_path / "empty")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("boxwright: ")
    assert result.err.count("\n") == 1
    assert not Path("made").exists()


def test_unknown_formats_and_image_sets_are_errors(boxwright, make_flat_dataset):
    folder = make_flat_dataset({"a": [DOG]})
    assert boxwright("data", "import", folder, "--from", "yolo", "--photos", folder, "--out", folder / "x").code == 2
    assert boxwright("data", "import", folder, "--from", "kitti", "--out", folder / "x").code == 2
    result = boxwright("data", "check", folder, "--set", "val")
    assert result.code == 2
    assert "there is no image set 'val'" in result.err


def test_the_blood_cell_data_set_has_two_errors(boxwright, shared):
    result = boxwright("data", "check", shared / "data" / "bccd")
    assert result.code == 1
    assert "2 errors, 0 warnings." in result.out
    assert "2,381" in result.out


def test_check_and_split_need_no_extra(boxwright, make_flat_dataset, hide_packages):
    hide_packages("tensorflow", "keras", "matplotlib", "yaml", "pycocotools")
    folder = make_flat_dataset({f"p{number}": [DOG] for number in range(5)})
    assert boxwright("data", "check", folder).code == 0
    assert boxwright("data", "split", folder).code == 0


def test_a_preview_of_a_data_set_without_image_sets_names_the_command_that_splits_it(boxwright, make_flat_dataset):
    folder = make_flat_dataset({"a": [DOG]})
    result = boxwright("data", "preview", folder)
    assert result.code == 2
    assert f"boxwright data split {folder}" in result.err
    assert "TensorFlow" not in result.err


def test_data_sets_are_merged_and_the_next_command_is_named(boxwright, make_flat_dataset, tmp_path):
    folders = []
    for name, annotation in (("dogs", DOG), ("cats", ("cat", 1, 1, 9, 9))):
        make_flat_dataset({"a": [annotation]}).rename(tmp_path / name)
        folders.append(tmp_path / name)
    out = tmp_path / "merged"
    result = boxwright("data", "merge", *folders, "--out", out)
    assert (result.code, result.err) == (0, f"Next: boxwright data check {out}\n")
    assert result.out.splitlines()[0] == f"{out}: 2 images (2 in train), 2 boxes; labels: cat, dog."
    assert json.loads((out / "ImageSets/labelled.json").read_text()) == {"a": ["dog"], "a-2": ["cat"]}
    assert boxwright("data", "merge", *folders, "--out", out).code == 2
    result = boxwright("data", "merge", folders[0], "--out", tmp_path / "other")
    assert result.code == 2
    assert "two or more data sets" in " ".join(result.err.replace("│", " ").split())


def test_merge_prints_how_many_annotations_are_in_no_image_set(boxwright, make_flat_dataset, tmp_path):
    for name in ("dogs", "more-dogs"):
        make_flat_dataset({"a": [DOG], "b": [DOG]}).rename(tmp_path / name)
    (tmp_path / "dogs" / "train.txt").write_text("a\n", encoding="utf-8")
    result = boxwright("data", "merge", tmp_path / "dogs", tmp_path / "more-dogs", "--out", tmp_path / "merged")
    assert (result.code, "1 annotation left out, because no image set lists them." in result.out) == (0, True)


def test_findings_are_printed_if_nothing_can_be_repaired(boxwright, make_flat_dataset, tmp_path):
    folder = make_flat_dataset({"a": [DOG]})
    (folder / "a.xml").write_text("<annotation", encoding="utf-8")
    result = boxwright("data", "check", folder, "--fix", tmp_path / "fixed")
    assert result.code == 2
    assert "annotation missing or unreadable" in result.out
    assert "1 error" in result.out
    assert "no sample can be repaired" in result.err
    assert not (tmp_path / "fixed").exists()
