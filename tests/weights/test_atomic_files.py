import errno
import stat

import pytest

from weights.atomic_files import atomic_write, atomic_write_all


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "model"
    with atomic_write(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_block_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def interrupted():
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_if_the_second_file_of_a_pair_fails_neither_is_replaced(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")

    def interrupted():
        with atomic_write_all(first, second) as (one, two):
            one.write(b"new")
            two.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert first.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [first]


@pytest.mark.parametrize("fails", [1, 2])
def test_if_the_disk_refuses_one_file_of_a_pair_neither_is_replaced(tmp_path, monkeypatch, fails):
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.write_bytes(b"old")
    calls = iter(range(1, 10))

    def full(_):
        if next(calls) == fails:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"), atomic_write_all(first, second) as files:
        files[0].write(b"new")
    assert {path.read_bytes() for path in (first, second)} == {b"old"}
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "model") as file:
        file.write(b"x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_missing_folder_is_an_os_error_that_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere/model"), atomic_write(tmp_path / "nowhere" / "model"):
        pass
