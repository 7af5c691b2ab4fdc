"""Two half-labelled data sets: only red squares are labelled on dark images, only blue discs on bright ones; both are on all images."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detector.detector import Detector
from detector.engines import load_engine
from training.config import Config
from training.dataset_merge import merge
from training.evaluate import evaluate
from training.finetune import Run
from training.labelled import FILE
from training.run_folder import Task
from training.voc import read_set
from training.voc_write import annotation_xml, new_dataset
from weights.model_file import load_model
from weights.resolve import load

SIDE = 128
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
DARK, BRIGHT = 60, 200
SETTINGS = {"epochs": 12, "sizes": str(SIDE), "unfreeze_at": 12, "cache_features": 2, "mosaic": 0.3, "rescore": False}
SETTINGS |= {"object_scale": 1.0, "noobject_scale": 1.0, "coord_scale": 1.0, "learning_rate": 0.001, "warmup_steps": 5, "ema": 0.95}
SETTINGS |= {"scale": 0.1, "translate": 0.1, "aspect": 0.0, "hue": 0.0, "check_every": 12, "checkpoint_steps": 1000, "tensorboard": False}


def draw(rng, brightness):
    """A noisy image with two red squares and two blue discs, one in each quarter, and their boxes with labels."""
    image = Image.fromarray(rng.normal(brightness, 12, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8))
    pen, things = ImageDraw.Draw(image), []
    for quarter, label in enumerate(rng.permutation(["red", "red", "blue", "blue"]).tolist()):
        side = int(rng.integers(36, 54))
        x, y = (corner * SIDE // 2 + int(rng.integers(0, SIDE // 2 - side + 1)) for corner in (quarter % 2, quarter // 2))
        shape = pen.rectangle if label == "red" else pen.ellipse
        shape((x, y, x + side - 1, y + side - 1), fill=COLOURS[label])
        things.append((label, (x, y, x + side, y + side)))
    return image, things


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
                    image, things = draw(rng, brightness)
                    image.save(tmp_path / "image.png")
                    annotated = [(label, box) for label, box in things if label in labels]
                    boxes = np.array([box for _, box in annotated], np.float32)
                    xml = annotation_xml(f"{each}.png", image.size, boxes, [label for label, _ in annotated])
                    new.add(each, tmp_path / "image.png", xml)
        return tmp_path / name

    return make


def test_both_classes_are_found_everywhere_with_labelled_json_and_not_without_it(half_labelled, tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))
    dark = half_labelled("dark", DARK, ["red"], {"train": 32, "val": 2})
    bright = half_labelled("bright", BRIGHT, ["blue"], {"train": 32, "val": 2})
    tests = [half_labelled(f"test{level}", level, ["red", "blue"], {"test": 6}) for level in (DARK, BRIGHT)]
    merge([dark, bright], tmp_path / "merged")
    shutil.copytree(tmp_path / "merged", tmp_path / "forgotten")
    (tmp_path / "forgotten" / FILE).unlink()
    recall = {}
    for name in ("merged", "forgotten"):
        run = Run.new(Task(str(tmp_path / name), "train", "val", None), Config(**SETTINGS), load(None), tmp_path / "runs")
        run.go()
        model = load_model(run.folder.path / "last.safetensors")
        detector = Detector(model.spec, load_engine(model))
        recall[name] = [recall_of(result) for test in tests for result in evaluate(detector, read_set(test, "test")).classes.values()]
    assert min(recall["merged"]) >= 0.75
    assert sorted(recall["forgotten"])[1] <= 0.5  # of the four, those of the classes without boxes at that brightness


def recall_of(result):
    """Of a class, at a score of 0.25."""
    return float(result.recall[result.scores >= 0.25].max(initial=0))
