import numpy as np
import pytest

from training.errors import CheckpointError
from training.run.checkpoints import Checkpoint, load_checkpoint, newest_checkpoint, save_checkpoint


def checkpoint(step):
    rng = np.random.default_rng(step)
    arrays = {
        "weights": rng.standard_normal((3, 4)).astype(np.float32),
        "step": np.array(step, np.int64),
        "seed": np.array([1, step], np.uint32),
        "none": np.zeros((0, 2), np.float32),
    }
    return Checkpoint({"step": step, "best": 0.1 + 0.2, "nothing": None}, arrays)


def assert_same(first, second):
    assert first.state == second.state
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        assert array.dtype == second.arrays[name].dtype
        np.testing.assert_array_equal(array, second.arrays[name])


def test_a_loaded_checkpoint_equals_the_saved_one(tmp_path):
    assert_same(load_checkpoint(save_checkpoint(checkpoint(7), tmp_path)), checkpoint(7))


def test_the_newest_two_checkpoints_are_kept_and_the_newest_is_loaded(tmp_path):
    for step in (5, 20, 100):
        save_checkpoint(checkpoint(step), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020.safetensors", "step-00000100.safetensors"]
    assert_same(newest_checkpoint(tmp_path), checkpoint(100))


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_checkpoint_is_detected_and_the_previous_one_is_loaded(tmp_path, fraction, caplog):
    save_checkpoint(checkpoint(1), tmp_path)
    path = save_checkpoint(checkpoint(2), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    assert_same(newest_checkpoint(tmp_path), checkpoint(1))
    assert "step-00000002.safetensors: the checkpoint is damaged or truncated" in caplog.text


def test_every_flipped_bit_is_detected(tmp_path):
    path = save_checkpoint(checkpoint(3), tmp_path)
    content = path.read_bytes()
    for position in np.random.default_rng(0).choice(len(content), 60, replace=False):
        if content[position : position + 1] == b" ":
            continue  # the header's padding
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(position) % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


def test_a_folder_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        newest_checkpoint(tmp_path)
