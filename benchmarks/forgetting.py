"""Measure what fine-tuning keeps and which false alarms it raises (docs/training.md, "Classes and false alarms").

python -m benchmarks.forgetting MODEL DATA --new LABEL,...     AP50 of the other classes on DATA, and false alarms of the new ones there

DATA is a data set whose images show none of the new objects, such as the validation set of `everyday`.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from detector.detector import Detector
from detector.engines import load_engine
from training.data.voc_reader import read_set
from training.evaluation.evaluate import evaluate_detector
from training.evaluation.false_alarms import count_false_alarms
from weights.hub.resolve import resolve_model


def measure(model_name: str, data: Path, image_set: str, new: list[str]) -> dict[str, object]:
    """Return AP50 of the classes of the data set, and the shares of its images with a detection of a new class."""
    model = resolve_model(model_name)
    evaluation = evaluate_detector(Detector(model.spec, load_engine(model)), read_set(data, image_set))
    class_ids = [model.spec.labels.index(label) for label in new]
    classes = {label: round(result.ap, 4) for label, result in evaluation.classes.items() if label not in new}
    return {
        "model": model_name,
        "input_size": model.spec.input_size,
        "images": len(evaluation.detections),
        "ap50": round(float(np.mean(list(classes.values()))), 4),
        "ap50_frequent": round(evaluation.ap50_frequent, 4),
        "false_alarms": count_false_alarms(evaluation.detections, class_ids).to_json() if new else None,
        "classes": classes,
    }


def main() -> None:
    """Print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model file or a name")
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", default="val", dest="image_set")
    parser.add_argument("--new", default="", help="labels of the new classes, separated by commas")
    given = parser.parse_args()
    print(json.dumps(measure(given.model, given.data, given.image_set, [each for each in given.new.split(",") if each])))


if __name__ == "__main__":
    main()
