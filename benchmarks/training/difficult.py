"""Compare the values of `--difficult` (ignore, train, background), which sets how training uses objects that are hard to recognise.

python -m benchmarks.training.difficult DATA --model FILE [--images 1000] [--seeds 3]

Our data sets have no boxes marked difficult. So this benchmark marks the small boxes in a copy of DATA. The annotators of PASCAL VOC
also mark objects that are too small to recognise. A box is small if its longer side is less than 6 % of that of the image.
For each value and seed, train the head on the copy. Print one JSON line with AP50 on the validation set, without and with the small boxes.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, get_args
from xml.etree.ElementTree import tostring

import keras
import numpy as np

from detector.detector import Detector
from detector.engines import load_engine
from training.config.options import Config
from training.config.task import Task
from training.data.labelled import read_labelled
from training.data.voc_reader import Sample, parse_annotation, read_set
from training.evaluation.evaluate import evaluate_detector
from training.run.run import Run
from weights.formats.safetensors import load_model

SMALL = 0.06
"""Longer side of a difficult box, relative to that of the image."""

SETTINGS: dict[str, Any] = {
    "batch_size": 16,
    "epochs": 4,
    "sizes": "288",
    "cache_features": 2,
    "unfreeze_at": 4,
    "batch_norm": "head",
    "learning_rate": 0.0006,
    "mosaic": 0.0,
    "assign_iou": 0.35,
    "check_every": 4,
    "tensorboard": False,
}


def mark_small_boxes(samples: list[Sample], data: Path, copy: Path, image_set: str) -> None:
    """Write annotations and a list for these samples to `copy`, with the small boxes marked difficult."""
    for folder in ("Annotations", "ImageSets/Main"):
        (copy / folder).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        root = parse_annotation(data / "Annotations" / f"{sample.name}.xml")
        limit = SMALL * max(sample.load_image().shape[:2])
        for element, box in zip(root.findall("object"), sample.boxes, strict=True):
            flag = element.find("difficult")
            assert flag is not None, sample.name
            flag.text = str(int(max(box[2:] - box[:2]) < limit))
        (copy / "Annotations" / f"{sample.name}.xml").write_bytes(tostring(root))
        (copy / "JPEGImages" / sample.image_path.name).hardlink_to(sample.image_path)
    names = "".join(f"{sample.name}\n" for sample in samples)
    (copy / "ImageSets/Main" / f"{image_set}.txt").write_text(names, encoding="utf-8")


def make_copy(data: Path, copy: Path, images: int) -> None:
    """Write a copy of DATA with at most `images` completely labelled training images. The image files are hard links."""
    partial = read_labelled(data)
    train = [sample for sample in read_set(data, "train") if sample.name not in partial]
    chosen = np.random.default_rng(0).choice(len(train), min(images, len(train)), replace=False)
    copy.mkdir()
    (copy / "JPEGImages").mkdir()
    mark_small_boxes([train[index] for index in sorted(chosen)], data, copy, "train")
    mark_small_boxes(read_set(data, "val"), data, copy, "val")


def measure(data: Path, copy: Path, model: Path, out: Path, difficult: str, seed: int) -> dict[str, Any]:
    """Train once and evaluate the last weights."""
    keras.utils.clear_session()
    config = Config.of(SETTINGS | {"difficult": difficult, "seed": seed})
    run = Run.new(Task(str(copy), "train", "val", str(model)), config, load_model(model), out)
    run.train()
    trained = load_model(run.folder.path / "last.safetensors")
    detector = Detector(trained.spec, load_engine(trained))
    without_small, with_small = (evaluate_detector(detector, read_set(folder, "val")).ap50_frequent for folder in (copy, data))
    return {"difficult": difficult, "seed": seed, "ap50_without_small": round(without_small, 4), "ap50_with_small": round(with_small, 4)}


def main() -> None:
    """Print one JSON line per run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.data.parent) as folder:
        copy = Path(folder) / "data"
        make_copy(options.data, copy, options.images)
        for seed in range(options.seeds):
            for difficult in get_args(Config.model_fields["difficult"].annotation):
                print(json.dumps(measure(options.data, copy, options.model, Path(folder), difficult, seed)), flush=True)


if __name__ == "__main__":
    main()
