"""The event files contain the values of metrics.jsonl exactly once."""

import tensorflow as tf

from training.run.tensorboard import EventFiles

VALIDATION = {"val_loss": 2.0, "ap50": 0.5, "sentences": []}
VALIDATION["layers"] = {"gradient_to_weight": {"conv1": 0.125}, "flat": {"conv4": {"dead": 0.25, "saturated": 0.0}}}


def step_metrics(step, **values):
    return {"step": step, "epoch": 0, "size": 64, "learning_rate": 0.5, "loss": float(step), "box": 0.25, "gradient": 3.0} | values


def read_events(folder):
    """(tag, step) -> values in all event files, as TensorBoard reads them."""
    values = {}
    for path in sorted(folder.glob("*tfevents*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                values.setdefault((value.tag, event.step), []).append(float(tf.make_ndarray(value.tensor)))
    return values


def test_every_value_is_written_under_its_tag(tmp_path):
    files = EventFiles(tmp_path / "tensorboard", [])
    files.write(step_metrics(1))
    files.write(step_metrics(2, **VALIDATION))
    files.close()
    values = read_events(tmp_path / "tensorboard")
    step_tags = {"loss/sum", "loss/box", "learning_rate", "gradient", "input_size"}
    validation_tags = {"check/val_loss", "check/ap50", "gradient_to_weight/conv1", "dead/conv4", "saturated/conv4"}
    assert {tag for tag, step in values if step == 1} == step_tags
    assert {tag for tag, step in values if step == 2} == step_tags | validation_tags
    assert values["loss/sum", 2] == [2.0]
    assert values["gradient_to_weight/conv1", 2] == [0.125]
    assert values["dead/conv4", 2] == [0.25]


def test_a_resumed_run_has_one_history(tmp_path):
    files = EventFiles(tmp_path, [])
    for step in (1, 2, 3):
        files.write(step_metrics(step))
    files.close()
    other_file = tmp_path / "notes.txt"
    other_file.write_text("mine")
    files = EventFiles(tmp_path, [step_metrics(1), step_metrics(2)])  # the checkpoint was at step 2
    files.write(step_metrics(3, loss=7.0))
    files.close()
    values = read_events(tmp_path)
    assert [values["loss/sum", step] for step in (1, 2, 3)] == [[1.0], [2.0], [7.0]]
    assert other_file.read_text() == "mine"
