"""What metrics.jsonl says, as TensorBoard reads it.

TensorFlow writes the files; tensorboard, the package, is needed only to look at them: tensorboard --logdir RUN
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from training.run_folder import Row

TERMS = ("box", "object", "no_object", "class", "prior", "l2")
PLAIN = {"loss": "loss/sum", "learning_rate": "learning_rate", "gradient": "gradient", "size": "input_size"} | {
    term: f"loss/{term}" for term in TERMS
}
CHECKED = {name: f"check/{name}" for name in ("val_loss", "ap50", "ap50_frequent", "ap50_weighted")}
"""Names in metrics.jsonl -> names in TensorBoard."""


@contextmanager
def event_files(folder: Path, before: Sequence[Row]) -> Iterator[Callable[[Row], None]]:
    """What writes a step's numbers to the folder, which is made. `before`: those of the steps that were made already.

    A resumed run makes the steps after its checkpoint again, and two histories in one folder look like one that jumps back. So
    the event files that are there are removed and `before` is written anew: 0.2 ms a step.
    """
    folder.mkdir(exist_ok=True)
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    writer = tf.summary.create_file_writer(str(folder))
    try:
        for row in before:
            _write(writer, row)
        yield lambda row: _write(writer, row)
    finally:
        writer.close()


def _write(writer: tf.summary.SummaryWriter, row: Row) -> None:
    with writer.as_default():
        tf.summary.experimental.write_raw_pb(_summary(_scalars(row)), step=row["step"])
    if "ap50" in row:
        writer.flush()


def _scalars(row: Row) -> dict[str, float]:
    """All numbers of a step by the names that TensorBoard groups them by."""
    scalars = {tag: row[name] for name, tag in (PLAIN | CHECKED).items() if name in row}
    layers = row.get("layers", {"gradient_to_weight": {}, "flat": {}})
    scalars |= {f"gradient_to_weight/{layer}": ratio for layer, ratio in layers["gradient_to_weight"].items()}
    for layer, shares in layers["flat"].items():
        scalars |= {f"{kind}/{layer}": share for kind, share in shares.items()}
    return scalars


def _summary(scalars: dict[str, float]) -> bytes:
    """A step in one record; `tf.summary.scalar` writes one for each number, and wants tensorboard installed."""
    scalar = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR"
    )
    values = [
        tf.compat.v1.Summary.Value(tag=tag, tensor=tf.make_tensor_proto(value, tf.float32), metadata=scalar)
        for tag, value in scalars.items()
    ]
    bytes_: bytes = tf.compat.v1.Summary(value=values).SerializeToString()
    return bytes_
