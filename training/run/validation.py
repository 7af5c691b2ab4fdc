"""Measure a model on the validation set during training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.detector import Detector
from detector.engines import Engine, load_engine
from detector.spec import Model
from training.evaluation.evaluate import evaluate
from training.run.metrics_log import Metrics
from training.run.setup import RunSetup
from training.run.trainer import Trainer


@dataclass(frozen=True)
class Validator:
    """AP50 and loss on the validation set of a run."""

    setup: RunSetup
    trainer: Trainer  # for its loss function

    def measure(self, model: Model) -> Metrics:
        """Return AP50, and the mean loss over the images."""
        engine = load_engine(model)
        return {"val_loss": self.loss(engine), "ap50": evaluate(Detector(model.spec, engine), self.setup.val).ap50}

    def loss(self, engine: Engine) -> float:
        """Return the mean loss over the validation images."""
        total, batch_size, images_count = 0.0, self.setup.config.batch_size, len(self.setup.val)
        for first in range(0, images_count, batch_size):
            images, targets = self.setup.val_batches.batch(first // batch_size)
            count = min(batch_size, images_count - first)  # the last batch is filled up with images from the beginning
            total += count * self.trainer.loss_of_raw(engine(images[:count]), _head(targets, count))
        return total / images_count


def _head(targets: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {name: array[:count] for name, array in targets.items()}
