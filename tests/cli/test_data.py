"""`boxwright data`: what it prints and writes, and its exit codes."""

import json
from pathlib import Path

import pytest
from PIL import Image

from training.data.voc_reader import read_set

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
DOG = ("dog", 1, 1, 30, 40)


@pytest.fixture
def flat(tmp_path, photo):
    """({name: objects}) -> photos of 80 x 50 pixels with .xml files beside them, as LabelImg leaves them."""

    def make(samples):
        for number, (name, objects) in enumerate(samples.items()):
            path = photo(f"flat/{name}.png", 80, 50)
            data = bytearray(path.read_bytes())
            path.write_bytes(bytes(data) + bytes([number]))  # behind the end: the same pixels in unlike files
            size = "<size><width>80</width><height>50</height></size>"
            path.with_suffix(".xml").write_text(f"<annotation>{size}{''.join(OBJECT.format(*thing) for thing in objects)}</annotation>")
        return tmp_path / "flat"

    return make


def test_a_sound_data_set_ends_with_0(boxwright, flat):
    ended = boxwright("data", "check", flat({"a": [DOG], "b": [DOG, ("[red]cat", 1, 1, 9, 9)]}))
    assert (ended.code, ended.err) == (0, "")
    assert "0 errors, 0 warnings." in ended.out
    assert "[red]cat" in ended.out
    assert "finding" not in ended.out


def test_warnings_alone_end_with_0_and_errors_with_1(boxwright, flat):
    ended = boxwright("data", "check", flat({"a": [DOG], "b": []}))
    assert ended.code == 0
    assert "image without a box" in ended.out
    assert "0 errors, 1 warning." in ended.out
    ended = boxwright("data", "check", flat({"a": [DOG], "b": [], "c": [("dog", 5, 5, 5, 5)]}))
    assert ended.code == 1
    assert "dog at xmin 5, ymin 5, xmax 5, ymax 5." in ended.out
    assert "1 error, 2 warnings." in ended.out


def test_json_has_every_finding_and_nothing_else(boxwright, flat):
    folder = flat({"a": [DOG, DOG], "b": [("Dog", 70, 1, 90, 9)]})
    ended = boxwright("data", "check", folder, "--json")
    told = json.loads(ended.out)
    assert (ended.code, ended.err) == (1, "")
    assert (told["folder"], told["errors"], told["warnings"], told["notes"]) == (str(folder), 1, 2, [])
    assert told["sets"] == {"all": {"photos": 2, "boxes": 2, "classes": {"dog": 2}}}
    assert {(each["kind"], each["severity"], each["where"], each["count"]) for each in told["findings"]} == {
        ("same-box", "warning", "a", 1),
        ("outside", "warning", "b", 1),
        ("spelling", "error", "b", 1),
    }


def test_allowed_labels_come_from_a_file(boxwright, flat, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\nbird\n")
    ended = boxwright("data", "check", flat({"a": [DOG]}), "--labels", tmp_path / "labels.txt")
    assert ended.code == 1
    assert "'dog' is not among the allowed labels: cat, bird." in ended.out


def test_a_repaired_copy_and_plots_are_written_on_request(boxwright, flat, tmp_path):
    folder = flat({"a": [DOG, ("dog", 70, 1, 90, 9)], "b": [("dog", 5, 5, 5, 5), DOG]})
    ended = boxwright("data", "check", folder, "--fix", tmp_path / "fixed", "--out", tmp_path / "plots")
    assert ended.code == 1
    assert f"{tmp_path / 'fixed'}: 2 images, 2 annotations changed, 0 names omitted." in ended.out
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"classes.png", "boxes.png"}
    assert [len(sample.boxes) for sample in read_set(tmp_path / "fixed", "all")] == [2, 1]
    assert boxwright("data", "check", tmp_path / "fixed").code == 0


def test_a_copy_is_never_written_over_anything(boxwright, flat, tmp_path):
    ended = boxwright("data", "check", flat({"a": [DOG]}), "--fix", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"boxwright: {tmp_path} exists already")


def test_a_split_is_written_and_only_replaced_by_force(boxwright, flat):
    folder = flat({f"p{number}": [DOG] for number in range(10)})
    ended = boxwright("data", "split", folder, "--val", "0.3", "--seed", "7", "--json")
    assert json.loads(ended.out) == {"photos": {"train": 7, "val": 3}, "boxes": {"dog": {"train": 7, "val": 3}}}
    first = (folder / "ImageSets" / "Main" / "val.txt").read_text()
    again = boxwright("data", "split", folder)
    assert again.code == 2
    assert "--force" in again.err
    ended = boxwright("data", "split", folder, "--val", "0.3", "--seed", "7", "--force")
    assert ended.code == 0
    assert "30.0%" in ended.out
    assert (folder / "ImageSets" / "Main" / "val.txt").read_text() == first
    assert len(read_set(folder, "train")) == 7
    assert boxwright("data", "check", folder, "--set", "val", "--json").code == 0


def test_coco_and_yolo_are_imported(boxwright, photo, tmp_path):
    path = photo("photos/a.jpg", 80, 50)
    (tmp_path / "instances.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": 80, "height": 50}, {"id": 2, "file_name": "gone.jpg"}],
                "annotations": [{"image_id": 1, "category_id": 1, "bbox": [20, 10, 40, 30]}],
                "categories": [{"id": 1, "name": "dog"}],
            }
        )
    )
    photo("yolo/images/val/a.jpg", 80, 50)
    for name, text in (("labels/val/a.txt", "0 0.5 0.5 0.5 0.6\n"), ("data.yaml", "names: [dog]\n")):
        (tmp_path / "yolo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "yolo" / name).write_text(text)
    options = {"coco": (tmp_path / "instances.json", "--photos", path.parent, "--set", "val"), "yolo": (tmp_path / "yolo",)}
    for source, arguments in options.items():
        ended = boxwright("data", "import", "--from", source, *arguments, "--out", tmp_path / source / "made")
        assert (ended.code, ended.err) == (0, "")
        assert "1 images (1 in val), 1 boxes of dog." in ended.out
        assert ("1 image named in the file but missing" in ended.out) == (source == "coco")
        (sample,) = read_set(tmp_path / source / "made", "val")
        assert (sample.labels, sample.boxes.tolist()) == (("dog",), [[20, 10, 60, 40]])


def test_data_sets_are_merged_and_the_next_command_is_named(boxwright, flat, tmp_path):
    folders = []
    for name, thing in (("dogs", DOG), ("cats", ("cat", 1, 1, 9, 9))):
        flat({"a": [thing]}).rename(tmp_path / name)
        folders.append(tmp_path / name)
    out = tmp_path / "merged"
    ended = boxwright("data", "merge", *folders, "--out", out)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"{out}: 2 images (2 in train), 2 boxes of cat, dog.",
        "1 images have a new name, because an earlier data set has an image of the same name.",
        "2 images are labelled for some of these labels only: ImageSets/labelled.json lists them.",
        f"Next: boxwright data check {out}",
    ]
    assert json.loads((out / "ImageSets/labelled.json").read_text()) == {"a": ["dog"], "a-2": ["cat"]}
    assert boxwright("data", "merge", *folders, "--out", out).code == 2
    ended = boxwright("data", "merge", folders[0], "--out", tmp_path / "other")
    assert ended.code == 2
    assert "give two or more data sets" in ended.err


def test_a_preview_shows_pictures_as_training_sees_them(boxwright, flat, model_file, tmp_path):
    folder, out = flat({"a": [DOG], "b": [("cat", 1, 1, 9, 9), DOG]}), tmp_path / "sheet.png"
    options = ("--set", "all", "--model", model_file, "--out", out, "--mosaic", 0, "--count", 3, "--sizes", 96)
    ended = boxwright("data", "preview", folder, *options)
    assert ended.code == 0
    assert f"{out}: 3 pictures of 96 pixels a side, " in ended.out
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
    for wrong, sentence in (
        (("--out", tmp_path / "sheet.webp"), "is written as .jpg or .jpeg or .png"),
        (("--labels", "cow"), "labels: the training set has no box of 'cow'. It has cat, dog."),
        (("--mosaic", 2), "mosaic: Input should be less than or equal to 1, got 2.0"),
    ):
        ended = boxwright("data", "preview", folder, *options, *wrong)
        assert ended.code == 2
        assert sentence in " ".join(ended.err.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["check"], ["split"], ["import", "--from", "yolo", "--out", "made"]], ids=" ".join)
def test_what_is_no_data_set_is_refused_in_a_sentence(boxwright, tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    ended = boxwright("data", *arguments, tmp_path / "empty")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("boxwright: ")
    assert ended.err.count("\n") == 1
    assert not Path("made").exists()


def test_unknown_formats_and_sets_and_options_of_others_are_refused(boxwright, flat):
    folder = flat({"a": [DOG]})
    assert boxwright("data", "import", folder, "--from", "yolo", "--photos", folder, "--out", folder / "x").code == 2
    assert boxwright("data", "import", folder, "--from", "kitti", "--out", folder / "x").code == 2
    ended = boxwright("data", "check", folder, "--set", "val")
    assert ended.code == 2
    assert "there is no image set 'val'" in ended.err


def test_real_blood_cells_have_two_specks(boxwright, shared):
    ended = boxwright("data", "check", shared / "data" / "bccd")
    assert ended.code == 1
    assert "2 errors, 0 warnings." in ended.out
    assert "2,381" in ended.out
