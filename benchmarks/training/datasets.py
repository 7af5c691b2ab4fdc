"""Generated data sets for benchmarks of training."""

from pathlib import Path

import numpy as np
from PIL import Image


def generate_dataset(folder: Path, count: int = 64) -> Path:
    """Write a VOC-style data set of rectangles in noise, 500 x 375 pixels. The sets train and val are equal."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(60, 200, (375, 500, 3)).astype(np.uint8)
        x, y, width, height = (int(part) for part in (*rng.integers(0, 150, 2), *rng.integers(60, 200, 2)))
        pixels[y : y + height, x : x + width] = (200, 30, 30)
        Image.fromarray(pixels).save(folder / f"JPEGImages/{number:03d}.jpg")
        box = f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + width}</xmax><ymax>{y + height}</ymax>"
        annotated = f"<object><name>rectangle</name><bndbox>{box}</bndbox></object>"
        size = "<size><width>500</width><height>375</height><depth>3</depth></size>"
        (folder / f"Annotations/{number:03d}.xml").write_text(f"<annotation>{size}{annotated}</annotation>", encoding="utf-8")
    for name in ("train", "val"):
        (folder / f"ImageSets/Main/{name}.txt").write_text("\n".join(f"{number:03d}" for number in range(count)), encoding="utf-8")
    return folder
