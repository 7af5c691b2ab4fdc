"""Two half-labelled data sets: red squares on dark images, blue discs on bright ones; both shapes are on every image."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detector.detector import Detector
from detector.engines import load_engine
from training.config import Config
from training.data.labelled import FILE
from training.data.voc_reader import read_set
from training.data.voc_writer import annotation_xml, new_dataset
from training.datasets.merge import merge
from training.evaluation.evaluate import evaluate
from training.run.run import Run
from training.task import Task
from weights.formats.safetensors import load_model
from weights.hub.resolve import resolve_model

SIDE = 128
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
DARK, BRIGHT = 60, 200
SETTINGS = {"epochs": 10, "sizes": str(SIDE), "unfreeze_at": 10, "cache_features": 2, "mosaic": 0.15, "rescore": False}
SETTINGS |= {"object_scale": 1.0, "noobject_scale": 1.0, "coord_scale": 1.0, "learning_rate": 0.001, "warmup_steps": 5, "ema": 0.9}
SETTINGS |= {"scale": 0.1, "translate": 0.1, "aspect": 0.05, "hue": 0.0, "check_every": 10, "checkpoint_steps": 1000, "tensorboard": False}


def draw(rng, brightness):
    """A noisy image with a red square in one half and a blue disc in the other, and their boxes by label."""
    image = Image.fromarray(rng.normal(brightness, 12, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8))
    pen, boxes = ImageDraw.Draw(image), {}
    for label, half in zip(COLOURS, rng.permutation(2).tolist(), strict=True):
        side = int(rng.integers(30, 56))
        x, y = half * SIDE // 2 + int(rng.integers(0, SIDE // 2 - side + 1)), int(rng.integers(0, SIDE - side))
        shape = pen.rectangle if label == "red" else pen.ellipse
        shape((x, y, x + side - 1, y + side - 1), fill=COLOURS[label])
        boxes[label] = (x, y, x + side, y + side)
    return image, boxes


@pytest.fixture
def half_labelled(tmp_path):
    """(folder name, brightness, labels that get a box, count by image set) -> the folder."""

    def make(name, brightness, labels, counts):
        rng = np.random.default_rng(brightness + len(labels))
        with new_dataset(tmp_path / name) as new:
            for image_set, count in counts.items():
                names = [f"{image_set}{number}" for number in range(count)]
                new.write_list(image_set, names)
                for each in names:
                    image, boxes = draw(rng, brightness)
                    image.save(tmp_path / "image.png")
                    corners = np.array([boxes[label] for label in labels], np.float32)
                    new.add(each, tmp_path / "image.png", annotation_xml(f"{each}.png", image.size, corners, labels))
        return tmp_path / name

    return make


def test_both_classes_are_found_everywhere_with_labelled_json_and_not_without_it(half_labelled, tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))
    dark = half_labelled("dark", DARK, ["red"], {"train": 32, "val": 2})
    bright = half_labelled("bright", BRIGHT, ["blue"], {"train": 32, "val": 2})
    tests = [half_labelled(f"test{level}", level, ["red", "blue"], {"test": 12}) for level in (DARK, BRIGHT)]
    merge([dark, bright], tmp_path / "merged")
    shutil.copytree(tmp_path / "merged", tmp_path / "forgotten")
    (tmp_path / "forgotten" / FILE).unlink()
    recall = {}
    for name in ("merged", "forgotten"):
        run = Run.new(Task(str(tmp_path / name), "train", "val", None), Config(**SETTINGS), resolve_model(None), tmp_path / "runs")
        run.train()
        model = load_model(run.folder.path / "last.safetensors")
        detector = Detector(model.spec, load_engine(model))
        recall[name] = [recall_of(result) for test in tests for result in evaluate(detector, read_set(test, "test")).classes.values()]
    assert min(recall["merged"]) >= 0.75
    assert sorted(recall["forgotten"])[1] <= 0.5  # of the four, those of the classes without boxes at that brightness


def recall_of(result):
    """Of a class, at a score of 0.25."""
    return float(result.recall[result.scores >= 0.25].max(initial=0))
