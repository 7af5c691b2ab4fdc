"""Small data sets in VOC layout, and a small network with training steps of a few milliseconds."""

import numpy as np
import pytest
from PIL import Image

from detector.network.layers import Conv, MaxPool, Reorg, Route
from detector.network.spec import Model, ModelSpec

OBJECT = (
    "<object><name>{}</name><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def random_pixels(seed, size=(60, 40)):
    """Random pixels that depend on the seed."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


@pytest.fixture
def annotated():
    """(objects, size=(60, 40), filename=None) -> an annotation's text; an object is (label, xmin, ymin, xmax, ymax) as in VOC files."""

    def make(objects, size=(60, 40), filename=None):
        sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
        name = f"<filename>{filename}</filename>" if filename else ""
        return f"<annotation>{name}{sides}{''.join(OBJECT.format(*values) for values in objects)}</annotation>"

    return make


@pytest.fixture
def save_image():
    """(path, seed, size=(60, 40)) -> the path, after writing an image of random pixels."""

    def save(path, seed, size=(60, 40), **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_pixels(seed, size)).save(path, **options)
        return path

    return save


@pytest.fixture
def make_dataset(tmp_path, annotated, save_image):
    """({name: objects}, {set: names}) -> a folder in VOC layout with different images of 60 x 40 pixels."""

    def make(samples, sets=None, folder="data"):
        root = tmp_path / folder
        (root / "Annotations").mkdir(parents=True)
        for seed, (name, objects) in enumerate(samples.items()):
            save_image(root / "JPEGImages" / f"{name}.jpg", seed)
            xml = root / "Annotations" / f"{name}.xml"
            xml.parent.mkdir(parents=True, exist_ok=True)
            xml.write_text(annotated(objects))
        for image_set, names in (sets or {}).items():
            lists = root / "ImageSets" / "Main"
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f"{image_set}.txt").write_text("".join(f"{name}\n" for name in names))
        return root

    return make


COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


def _rectangle_annotation(name, width, height, boxes):
    objects = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for label, (x0, y0, x1, y1) in boxes
    )
    return f"<annotation><filename>{name}.png</filename><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory):
    """A data set of 12 images with unequal sides and one or two red or blue rectangles: 9 in train, 3 in val."""
    folder = tmp_path_factory.mktemp("rectangles")
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"picture{number:02d}" for number in range(12)]
    for name in names:
        width, height = (int(side) for side in rng.integers(60, 120, 2))
        pixels = rng.integers(90, 160, (height, width, 3)).astype(np.uint8)
        boxes = []
        for half in range(int(rng.integers(1, 3))):
            x0, y0 = half * width // 2 + int(rng.integers(0, 8)), int(rng.integers(0, height // 2))
            x1, y1 = x0 + int(rng.integers(15, width // 2 - 8)), y0 + int(rng.integers(15, height // 2))
            label = ("red", "blue")[int(rng.integers(2))]
            pixels[y0:y1, x0:x1] = COLOURS[label]
            boxes.append((label, (x0, y0, x1, y1)))
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.png")
        (folder / "Annotations" / f"{name}.xml").write_text(_rectangle_annotation(name, width, height, boxes), encoding="utf-8")
    (folder / "ImageSets/Main/train.txt").write_text("\n".join(names[:9]), encoding="utf-8")
    (folder / "ImageSets/Main/val.txt").write_text("\n".join(names[9:]), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def small_model(random_arrays):
    """A small YOLOv2 with stride 16, passthrough and two anchors; its labels are "red" and "green"."""
    labels = ("red", "green")
    stem = tuple(layer for i in range(1, 4) for layer in (Conv(f"conv{i}", 8 * i), MaxPool(f"pool{i}")))
    network = (
        *stem,
        Conv("conv4", 24, activation="relu"),
        MaxPool("pool4"),
        Conv("conv5", 32),
        Conv("conv6", 32),
        Conv("conv7", 32),
        Route("passthrough", ("conv4",)),
        Conv("conv4a", 8, size=1),
        Reorg("reorg"),
        Route("concat", ("reorg", "conv7")),
        Conv("conv8", 32),
        Conv("linear", 2 * (5 + len(labels)), size=1, normalize=False, activation="linear"),
    )
    spec = ModelSpec(labels, ((1.0, 1.2), (2.0, 2.5)), network, input_size=64)
    return Model("small-random", spec, random_arrays(network, 4), {"source": "seeded random numbers"})
