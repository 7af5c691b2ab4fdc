"""The archives that Correct mode downloads: read by Python's zipfile, by `boxwright data check`, and by the trainer."""

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.service.web.conftest import CAT, ROOT
from training.data.voc_reader import read_set
from training.data.voc_writer import annotation_xml
from training.datasets.check import check_dataset
from weights.formats.safetensors import save_model


def boxwright(*arguments):
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def images(tmp_path):
    """Return a function (count) -> paths of grey images with different noise, each with a white rectangle (50, 40)-(150, 120)."""

    def make(count):
        folder = tmp_path / "images"
        folder.mkdir()
        paths = [folder / f"{number}.png" for number in range(count)]
        for number, path in enumerate(paths):
            pixels = np.random.default_rng(number).integers(100, 120, (200, 300, 3), np.uint8)
            pixels[40:120, 50:150] = 250
            Image.fromarray(pixels).save(path)
        return paths

    return make


def annotate(page, name, label, start=(50, 40), end=(150, 120)):
    """Replace the boxes of an image by one box."""
    page.tab.click(f".thumbnail[title='{name}']")
    page.tab.wait_for_selector(f"#photo[alt='{name}']")
    page.tab.wait_for_selector(f".thumbnail[title='{name}'].corrected")
    page.tab.focus("#editor")
    for _ in page.corrected_boxes():
        page.tab.locator("#editor .box").first.focus()
        page.tab.keyboard.press("Delete")
    page.draw(start, end, label)


def download(page, button, folder):
    """Download an archive, check it, and unpack it. Returns the names of its files."""
    with page.tab.expect_download() as downloaded:
        page.tab.click(button)
    with zipfile.ZipFile(downloaded.value.path()) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
        return sorted(archive.namelist())


def test_the_archive_passes_the_check_and_has_the_original_bytes(page, images, tmp_path):
    paths = images(6)
    page.correct(*paths)
    for path in paths:
        annotate(page, path.name, "thing")
    folder = tmp_path / "data"
    names = download(page, "#download-set", folder)
    stems = [path.stem for path in paths]
    assert names == sorted(
        [f"Annotations/{stem}.xml" for stem in stems]
        + ["ImageSets/Main/train.txt", "ImageSets/Main/val.txt"]
        + [f"JPEGImages/{stem}.png" for stem in stems]
    )
    for path in paths:
        assert (folder / "JPEGImages" / path.name).read_bytes() == path.read_bytes()
    samples = {name: read_set(folder, name) for name in ("train", "val")}
    assert {name: [sample.name for sample in subset] for name, subset in samples.items()} == {
        "train": ["0", "1", "2", "3", "5"],
        "val": ["4"],
    }
    for sample in samples["train"] + samples["val"]:
        assert sample.labels == ("thing",)
        assert sample.boxes == pytest.approx(np.array([[50, 40, 150, 120]]), abs=1)
    result = boxwright("data", "check", folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5 images for training, 1 for validation" in page.tab.inner_text("#archive-status")
    assert "boxwright finetune corrected" in page.tab.inner_text("#commands")


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_the_archive_trains_with_the_command_that_the_page_shows(page, images, tmp_path, tiny_model, count):
    paths = images(count)
    page.correct(*paths, *([CAT] if count == 1 else []))
    for path in paths:
        annotate(page, path.name, "thing")
    download(page, "#download-set", tmp_path / "corrected")
    command = page.tab.inner_text("#commands").splitlines()[-1].split()
    assert command[:3] == ["boxwright", "finetune", "corrected"]
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    quick = ("--model", tmp_path / "tiny.safetensors", "--epochs", 1, "--sizes", 64, "--batch-size", 2, "--check-every", 1)
    result = boxwright("finetune", tmp_path / "corrected", *command[3:], *quick, "--out", tmp_path / "runs")
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "runs" / "corrected-001" / "best.safetensors").is_file()


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_boxes_of_a_rotated_image_refer_to_the_upright_image(page, tmp_path, orientation):
    """The stored pixels are rotated or mirrored. The user sees the upright image, and so does training."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "rotated.jpg"
    Image.new("RGB", (300, 200), (90, 90, 90)).save(path, exif=exif)
    page.correct(path)
    width, height = (200, 300) if orientation > 4 else (300, 200)
    page.draw((20, 30), (width - 60, height - 70), "thing")
    folder = tmp_path / "data"
    assert download(page, "#download-set", folder) == ["Annotations/rotated.xml", "ImageSets/Main/train.txt", "JPEGImages/rotated.jpg"]
    assert (folder / "JPEGImages" / "rotated.jpg").read_bytes() == path.read_bytes()
    (sample,) = read_set(folder, "train")
    assert sample.load_image().shape[:2] == (height, width)
    assert sample.boxes == pytest.approx(np.array([[20, 30, width - 60, height - 70]]), abs=1)
    assert check_dataset(folder).errors == 0


def test_one_image_is_downloaded_with_its_xml_next_to_it(page, tmp_path):
    page.correct(CAT)
    assert download(page, "#download-pair", tmp_path / "data") == ["cat.jpg", "cat.xml"]
    (sample,) = read_set(tmp_path / "data", "all")
    assert sample.labels == ("cat",)
    assert sample.image_path.read_bytes() == CAT.read_bytes()
    ((label, *edges),) = page.corrected_boxes()
    assert (label, sample.boxes.tolist()) == ("cat", [edges])


def test_names_are_safe_and_unique_and_an_image_can_be_excluded(page, tmp_path):
    folder = tmp_path / "in"
    paths = [folder / "a" / "My cat (1).JPG", folder / "b" / "my cat (1).jpg", folder / "con.jpg", folder / "猫", folder / "excluded.jpg"]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        Image.new("RGB", (60 + number, 50), (90, 90, 90)).save(file, "JPEG")
        path.write_bytes(file.getvalue())
    page.correct(*paths)
    for path in paths:
        annotate(page, path.name, "thing", (5, 5), (40, 40))
    page.tab.uncheck("#include")
    names = download(page, "#download-set", tmp_path / "data")
    assert [name for name in names if name.startswith("JPEG")] == [
        "JPEGImages/My_cat_1_.jpg",
        "JPEGImages/con_.jpg",
        "JPEGImages/my_cat_1_-2.jpg",
        "JPEGImages/猫.jpg",
    ]
    assert check_dataset(tmp_path / "data").errors == 0


def test_annotations_equal_those_of_the_python_writer(page):
    """Both writers produce the same bytes, even for labels with markup characters."""
    labels = ["cat", "<b>&amp;\"'", "a > b", "é猫😀"]
    boxes = [[0, 0, 10, 20], [3, 4, 50, 60], [1, 2, 3, 4], [7, 8, 99, 100]]
    edges = ("xmin", "ymin", "xmax", "ymax")
    entries = [{"label": label, **dict(zip(edges, box, strict=True))} for label, box in zip(labels, boxes, strict=True)]
    for count in (0, len(labels)):
        xml = page.tab.evaluate(
            """async (boxes) => {
                const {annotationXml} = await import("/web/correct/export/voc_xml.js");
                return annotationXml("a&b.jpg", {width: 120, height: 110}, boxes);
            }""",
            entries[:count],
        )
        expected = annotation_xml("a&b.jpg", (120, 110), np.array(boxes[:count], np.float32).reshape(-1, 4), labels[:count])
        assert xml.encode() == expected
    clean = page.tab.evaluate(
        """async () => (await import("/web/correct/export/voc_xml.js")).cleanText(" a\\u0000\\ud800  b\\n\\u000b ")"""
    )
    assert clean == "a b"


def test_every_label_of_the_validation_set_is_also_in_the_training_set(page):
    for images, val in (
        (["a"], []),
        (["a", "a"], [0]),
        (["a", "b"], []),  # each label is needed for training
        (["ab", "a", "b"], [0]),
        (["a", "a", "a", "a", "a"], [4]),
        (["a"] * 10, [4, 9]),
        (["", "a", "a", "a"], [1]),  # an image without boxes measures nothing
        (["a", "a", "a", "b", "b", "c", "a", "a", "a", "a"], [4, 9]),
    ):
        entries = [{"content": str(index), "labels": list(labels), "index": index} for index, labels in enumerate(images)]
        assert split(page, entries) == val, images


def test_identical_images_stay_in_one_set(page):
    entries = [{"content": str(index % 3), "labels": ["a"], "index": index} for index in range(6)]
    assert split(page, entries) == [0, 3]


def split(page, images):
    """Return the indices of the images for validation."""
    return page.tab.evaluate(
        """async (images) => {
            const {split} = await import("/web/correct/export/split.js");
            const {train, val} = split(images.map((image) => ({...image, labels: new Set(image.labels)})));
            if (train.length + val.length !== images.length) throw new Error("an image is in no set");
            return val.map(({index}) => index);
        }""",
        images,
    )
