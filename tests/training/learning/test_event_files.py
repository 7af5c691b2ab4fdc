"""TensorBoard's files say what metrics.jsonl says, once."""

import pytest
import tensorflow as tf

from training.run.tensorboard import event_files

CHECK = {"val_loss": 2.0, "ap50": 0.5, "sentences": []}
CHECK["layers"] = {"gradient_to_weight": {"conv1": 0.125}, "flat": {"conv4": {"dead": 0.25, "saturated": 0.0}}}


def row(step, **more):
    return {"step": step, "epoch": 0, "size": 64, "learning_rate": 0.5, "loss": float(step), "box": 0.25, "gradient": 3.0} | more


def told(folder):
    """(tag, step) -> values, of every event file there is, as TensorBoard reads them."""
    values = {}
    for path in sorted(folder.glob("*tfevents*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                values.setdefault((value.tag, event.step), []).append(float(tf.make_ndarray(value.tensor)))
    return values


def test_every_number_of_a_step_is_written_under_its_name(tmp_path):
    with event_files(tmp_path / "tensorboard", []) as tell:
        tell(row(1))
        tell(row(2, **CHECK))
    values = told(tmp_path / "tensorboard")
    plain = {"loss/sum", "loss/box", "learning_rate", "gradient", "input_size"}
    checked = {"check/val_loss", "check/ap50", "gradient_to_weight/conv1", "dead/conv4", "saturated/conv4"}
    assert {tag for tag, step in values if step == 1} == plain
    assert {tag for tag, step in values if step == 2} == plain | checked
    assert values["loss/sum", 2] == [2.0]
    assert values["gradient_to_weight/conv1", 2] == [0.125]
    assert values["dead/conv4", 2] == [0.25]


def test_a_resumed_run_has_one_history(tmp_path):
    with event_files(tmp_path, []) as tell:
        for step in (1, 2, 3):
            tell(row(step))
    kept = tmp_path / "notes.txt"
    kept.write_text("mine")
    with event_files(tmp_path, [row(1), row(2)]) as tell:  # its checkpoint was at step 2
        tell(row(3, loss=7.0))
    values = told(tmp_path)
    assert [values["loss/sum", step] for step in (1, 2, 3)] == [[1.0], [2.0], [7.0]]
    assert kept.read_text() == "mine"


def test_what_was_written_stays_when_a_run_breaks_off(tmp_path):
    def break_off(step):
        with event_files(tmp_path, []) as tell:
            tell(row(step))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off(1)
    assert told(tmp_path)["loss/sum", 1] == [1.0]
