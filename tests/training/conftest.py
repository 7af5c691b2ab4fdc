"""Small annotated data sets, made on the spot."""

import numpy as np
import pytest
from PIL import Image

OBJECT = (
    "<object><name>{}</name><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def photo_bytes(seed, size=(60, 40)):
    """Pixels that no other seed has."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


@pytest.fixture
def annotated():
    """(objects, size=(60, 40), filename=None) -> an annotation's text; an object is (label, xmin, ymin, xmax, ymax) in VOC's words."""

    def make(objects, size=(60, 40), filename=None):
        sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
        name = f"<filename>{filename}</filename>" if filename else ""
        return f"<annotation>{name}{sides}{''.join(OBJECT.format(*thing) for thing in objects)}</annotation>"

    return make


@pytest.fixture
def save_photo():
    """(path, seed, size=(60, 40)) writes a photo of its own."""

    def save(path, seed, size=(60, 40), **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo_bytes(seed, size)).save(path, **options)
        return path

    return save


@pytest.fixture
def make_dataset(tmp_path, annotated, save_photo):
    """({name: objects}, {set: names}) -> a folder in VOC's layout, its photos 60 x 40 pixels and all unlike."""

    def make(samples, sets=None, folder="data"):
        root = tmp_path / folder
        (root / "Annotations").mkdir(parents=True)
        for seed, (name, objects) in enumerate(samples.items()):
            save_photo(root / "JPEGImages" / f"{name}.jpg", seed)
            xml = root / "Annotations" / f"{name}.xml"
            xml.parent.mkdir(parents=True, exist_ok=True)
            xml.write_text(annotated(objects))
        for image_set, names in (sets or {}).items():
            lists = root / "ImageSets" / "Main"
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f"{image_set}.txt").write_text("".join(f"{name}\n" for name in names))
        return root

    return make
