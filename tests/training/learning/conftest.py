"""A small VOC-style data set of coloured rectangles, and a network of which a step costs a few milliseconds."""

import numpy as np
import pytest
from PIL import Image

from detector.network import Conv, MaxPool, Reorg, Route
from detector.spec import Model, ModelSpec

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


def _annotation(name, width, height, boxes):
    things = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for label, (x0, y0, x1, y1) in boxes
    )
    return f"<annotation><filename>{name}.png</filename><size><width>{width}</width><height>{height}</height></size>{things}</annotation>"


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory):
    """12 pictures of unequal sides with one or two rectangles, red or blue: train has 9, val 3."""
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
        (folder / "Annotations" / f"{name}.xml").write_text(_annotation(name, width, height, boxes), encoding="utf-8")
    (folder / "ImageSets/Main/train.txt").write_text("\n".join(names[:9]), encoding="utf-8")
    (folder / "ImageSets/Main/val.txt").write_text("\n".join(names[9:]), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def small_model(random_arrays):
    """A YOLOv2 in small: stride 16, passthrough, two anchors; knows "red" and "green"."""
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
