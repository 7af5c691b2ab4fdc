"""TensorBoard event files with losses, validations and layer diagnostics of metrics.jsonl.

TensorFlow writes the files. The tensorboard package is only needed to display them: tensorboard --logdir RUN
"""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from training.run.metrics_log import LOSS_TERMS, VALIDATION_COLUMNS, StepMetrics

_STEP_TAGS = {"loss": "loss/sum", "learning_rate": "learning_rate", "gradient": "gradient", "size": "input_size"} | {
    term: f"loss/{term}" for term in LOSS_TERMS
}
_VALIDATION_TAGS = {key: f"check/{key}" for key in VALIDATION_COLUMNS}  # Key in metrics.jsonl -> tag in TensorBoard.


class EventFiles:
    """Writer of the event files of one run."""

    def __init__(self, folder: Path, history: Sequence[StepMetrics]) -> None:
        """Replace the event files in `folder` by new ones with the steps of `history`.

        A resumed run repeats the steps after its checkpoint. TensorBoard draws two histories in one folder as one line that jumps back.
        """
        folder.mkdir(exist_ok=True)
        for outdated in folder.glob("events.out.tfevents.*"):
            outdated.unlink()
        self._writer = tf.summary.create_file_writer(str(folder))
        for metrics in history:
            self.write(metrics)

    def write(self, metrics: StepMetrics) -> None:
        """Write the metrics of one step."""
        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(_summary(_scalars(metrics)), step=metrics["step"])
        if "ap50" in metrics:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the files."""
        self._writer.close()


def _scalars(metrics: StepMetrics) -> dict[str, float]:
    """Return the values of a step by TensorBoard tag."""
    scalars = {tag: metrics[key] for key, tag in (_STEP_TAGS | _VALIDATION_TAGS).items() if key in metrics}
    layers = metrics.get("layers", {"gradient_to_weight": {}, "flat": {}})
    scalars |= {f"gradient_to_weight/{layer}": ratio for layer, ratio in layers["gradient_to_weight"].items()}
    for layer, shares in layers["flat"].items():
        scalars |= {f"{kind}/{layer}": share for kind, share in shares.items()}
    return scalars


def _summary(scalars: dict[str, float]) -> bytes:
    """Return one record for all values of a step. `tf.summary.scalar` writes one record per value and needs the tensorboard package."""
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR"
    )
    values = [
        tf.compat.v1.Summary.Value(tag=tag, tensor=tf.make_tensor_proto(value, tf.float32), metadata=metadata)
        for tag, value in scalars.items()
    ]
    serialised: bytes = tf.compat.v1.Summary(value=values).SerializeToString()
    return serialised
