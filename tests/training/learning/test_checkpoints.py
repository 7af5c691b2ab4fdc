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


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    assert_same(load_checkpoint(save_checkpoint(checkpoint(7), tmp_path)), checkpoint(7))


def test_two_are_kept_and_the_newest_is_used(tmp_path):
    for step in (5, 20, 100):
        save_checkpoint(checkpoint(step), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020.safetensors", "step-00000100.safetensors"]
    assert_same(newest_checkpoint(tmp_path), checkpoint(100))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_noticed_and_the_one_before_is_used(tmp_path, share, caplog):
    save_checkpoint(checkpoint(1), tmp_path)
    path = save_checkpoint(checkpoint(2), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert_same(newest_checkpoint(tmp_path), checkpoint(1))
    assert "step-00000002.safetensors: damaged" in caplog.text


def test_any_bit_that_is_turned_is_noticed(tmp_path):
    path = save_checkpoint(checkpoint(3), tmp_path)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).choice(len(whole), 60, replace=False):
        if whole[place : place + 1] == b" ":
            continue  # the header's padding
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place) % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint that can be read"):
        newest_checkpoint(tmp_path)
