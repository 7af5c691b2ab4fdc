"""A model of red and blue rectangles is trained on green ones. It keeps the other classes only with a memory."""

import numpy as np
import pytest
from PIL import Image

from detector.detector import Detector
from detector.engines import load_engine
from training.config.options import Config
from training.config.task import Task
from training.data.voc_reader import read_set
from training.data.voc_writer import annotation_xml, new_dataset
from training.evaluation.evaluate import evaluate_detector
from training.evaluation.false_alarms import count_false_alarms
from training.features.remember import make_memory
from training.run.run import Run
from weights.formats.safetensors import load_model

SETTINGS = {"epochs": 40, "batch_size": 6, "sizes": "64", "check_every": 40, "learning_rate": 0.004, "warmup_steps": 5, "ema": 0.9}
SETTINGS |= {"mosaic": 0.0, "scale": 0.1, "hue": 0.0, "saturation": 1.0, "exposure": 1.0, "cache_features": 2, "unfreeze_at": 40.0}
SETTINGS |= {"tensorboard": False, "rescore": False}
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 220, 30)}


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """(labels) -> a data set of 24 images with a rectangle of one of these colours each, in both image sets."""

    def make(*labels):
        folder, rng = tmp_path_factory.mktemp("coloured"), np.random.default_rng(len(labels))
        with new_dataset(folder / "data") as new:
            names = [f"image{number:02d}" for number in range(24)]
            for image_set in ("train", "val"):
                new.write_list(image_set, names)
            for number, name in enumerate(names):
                pixels = rng.integers(90, 160, (80, 80, 3)).astype(np.uint8)
                x, y, width, height = (int(value) for value in rng.integers(20, 36, 4))
                label = labels[number % len(labels)]
                pixels[y : y + height, x : x + width] = COLOURS[label]
                Image.fromarray(pixels).save(folder / "image.png")
                corners = np.array([[x, y, x + width, y + height]], np.float32)
                new.add(name, folder / "image.png", annotation_xml(f"{name}.png", (80, 80), corners, [label]))
        return folder / "data"

    return make


def top_label_accuracy(model, data):
    """Return the share of images with the right label at the most confident detection."""
    evaluation = evaluate_detector(Detector(model.spec, load_engine(model)), read_set(data, "val"))
    pairs = zip(evaluation.detections, evaluation.truths, strict=True)
    return np.mean([len(detections) > 0 and detections.class_ids[0] == truth.class_ids[0] for detections, truth in pairs])


def green_false_alarm_rate(model, data):
    """Return the share of images with a detection of green above confidence 0.25."""
    detections = evaluate_detector(Detector(model.spec, load_engine(model)), read_set(data, "val")).detections
    return count_false_alarms(detections, [model.spec.labels.index("green")]).shares[0.25]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOXWRIGHT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_a_memory_keeps_old_classes_and_prevents_false_alarms(coloured, small_model, tmp_path):
    old, new = coloured("red", "blue"), coloured("green")

    def train(data, start, memory=None, **settings):
        run = Run.new(Task(str(data), "train", "val", None), Config(**(SETTINGS | settings)), start, tmp_path, memory=memory)
        run.train()
        return load_model(run.folder.path / "last.safetensors")

    start = train(old, small_model, new_layers="head")
    memory = make_memory(start, read_set(old, "train"), 24, size=64)
    kept = train(new, start, memory, rarity=3.0)  # a third of the images show green, and the run has few steps
    forgotten = train(new, start, classes="keep")
    assert kept.spec.labels == forgotten.spec.labels == ("blue", "red", "green")
    assert top_label_accuracy(start, old) >= 0.9
    assert min(top_label_accuracy(kept, old), top_label_accuracy(kept, new)) >= 0.9
    assert top_label_accuracy(forgotten, old) <= 0.5
    assert green_false_alarm_rate(kept, old) <= 0.1
    assert green_false_alarm_rate(forgotten, old) >= 0.5
