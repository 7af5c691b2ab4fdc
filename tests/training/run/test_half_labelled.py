"""Half-labelled data sets: red squares are labelled in dark images only, and blue discs in bright images only."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detector.detector import Detector
from detector.engines import load_engine
from detector.network.layers import Conv
from detector.network.shapes import output_shapes
from detector.network.spec import Model
from training.config.options import Config
from training.config.task import Task
from training.data.labelled import LABELLED_FILE
from training.data.voc_reader import read_set
from training.data.voc_writer import annotation_xml, new_dataset
from training.datasets.merge import merge_datasets
from training.evaluation.evaluate import evaluate_detector
from training.modeling.transfer import backbone_layers, fresh_arrays
from training.run.run import Run
from weights.formats.safetensors import load_model
from weights.hub.resolve import resolve_model

SIDE = 128
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
DARK, BRIGHT = 60, 200
EPOCHS = 24
SETTINGS = {"epochs": EPOCHS, "sizes": str(SIDE), "unfreeze_at": EPOCHS, "cache_features": 3, "mosaic": 0.3, "rescore": False}
SETTINGS |= {"object_scale": 1.0, "noobject_scale": 1.0, "coord_scale": 1.0, "learning_rate": 0.003, "warmup_steps": 10, "ema": 0.98}
SETTINGS |= {"scale": 0.1, "translate": 0.1, "hue": 0.0, "new_layers": "head", "check_every": EPOCHS, "tensorboard": False}


def draw(rng, brightness):
    """Return a noisy image with a red square in one half and a blue disc in the other, and the boxes by label."""
    image = Image.fromarray(rng.normal(brightness, 12, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8))
    pen, boxes = ImageDraw.Draw(image), {}
    for label, half in zip(COLOURS, rng.permutation(2).tolist(), strict=True):
        side = int(rng.integers(36, 54))
        x, y = half * SIDE // 2 + int(rng.integers(0, SIDE // 2 - side + 1)), int(rng.integers(0, SIDE - side))
        shape = pen.rectangle if label == "red" else pen.ellipse
        shape((x, y, x + side - 1, y + side - 1), fill=COLOURS[label])
        boxes[label] = (x, y, x + side, y + side)
    return image, boxes


def small_detector():
    """Return a detector with fast steps: the embedded model's layers up to stride 16, with a new head of two convolutions."""
    shipped = resolve_model(None)
    shapes = output_shapes(shipped.spec.network, SIDE)
    last = [name for name in backbone_layers(shipped.spec.network) if shapes[name].side == SIDE // 16][-1]
    stem = shipped.spec.network[: list(shapes).index(last) + 1]
    network = (*stem, Conv("new_hidden", 64), Conv("new_output", 2 * (5 + 2), size=1, normalize=False, activation="linear"))
    spec = replace(shipped.spec, labels=("blue", "red"), anchors=((1.4, 1.4), (2.8, 2.8)), network=network, input_size=SIDE)
    arrays = {name: shipped.arrays.get(name, array) for name, array in fresh_arrays(network, Config()).items()}
    return Model("small", spec, arrays)


@pytest.fixture
def half_labelled(tmp_path):
    """(folder name, brightness, labels that get a box, count by image set) -> the folder."""

    def make(name, brightness, labels, counts):
        rng = np.random.default_rng(brightness + len(labels))
        with new_dataset(tmp_path / name) as new:
            for image_set, count in counts.items():
                names = [f"{image_set}{number}" for number in range(count)]
                new.write_list(image_set, names)
                for image_name in names:
                    image, boxes = draw(rng, brightness)
                    image.save(tmp_path / "image.png")
                    corners = np.array([boxes[label] for label in labels], np.float32)
                    new.add(image_name, tmp_path / "image.png", annotation_xml(f"{image_name}.png", image.size, corners, labels))
        return tmp_path / name

    return make


@pytest.mark.slow
def test_half_labelled_data_sets_need_labelled_json(half_labelled, tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))
    dark = half_labelled("dark", DARK, ["red"], {"train": 48, "val": 2})
    bright = half_labelled("bright", BRIGHT, ["blue"], {"train": 48, "val": 2})
    test_folders = {level: half_labelled(f"test{level}", level, ["red", "blue"], {"test": 12}) for level in (DARK, BRIGHT)}
    merge_datasets([dark, bright], tmp_path / "merged")
    shutil.copytree(tmp_path / "merged", tmp_path / "forgotten")
    (tmp_path / "forgotten" / LABELLED_FILE).unlink()
    recall, start = {}, small_detector()
    for name in ("merged", "forgotten"):
        run = Run.new(Task(str(tmp_path / name), "train", "val", None), Config(**SETTINGS), start, tmp_path / "runs")
        run.train()
        model = load_model(run.folder.path / "last.safetensors")
        detector = Detector(model.spec, load_engine(model))
        for level, folder in test_folders.items():
            for label, result in evaluate_detector(detector, read_set(folder, "test")).classes.items():
                recall[name, level, label] = float(result.recall[result.scores >= 0.25].max(initial=0))
    assert min(recall["merged", level, label] for level in test_folders for label in COLOURS) >= 0.8
    assert max(recall["forgotten", DARK, "blue"], recall["forgotten", BRIGHT, "red"]) <= 0.4
