"""Atomic writes: a file appears complete or not at all."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from weights.atomic_files import atomic_write, atomic_write_all
from weights.formats.darknet.weights import write_darknet


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
        with atomic_write_all(first, second) as (first_file, second_file):
            first_file.write(b"new")
            second_file.write(b"half")
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


ROOT = Path(__file__).resolve().parents[2]
LIMIT_FILE_SIZE = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # as `ulimit -f 4`: a file that grows larger is refused like on a full disk
"""


def run_with_limited_file_size(code, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", LIMIT_FILE_SIZE + code, *map(str, arguments)], capture_output=True, text=True, env=environment
    )


WRITE = """
from pathlib import Path
from weights.atomic_files import atomic_write_all
small, large = Path(sys.argv[1]), Path(sys.argv[2])
try:
    with atomic_write_all(small, large) as (first_file, second_file):
        first_file.write(b"x")
        for size in SIZES:
            second_file.write(bytes(size))
except OSError as error:
    print(error.filename, error.strerror)
"""


@pytest.mark.parametrize("sizes", ["[100_000]", "[100] * 1000", "[5000]"], ids=["direct", "buffered", "when flushed"])
def test_a_write_error_names_the_file(tmp_path, sizes):
    large = tmp_path / "large"
    result = run_with_limited_file_size(WRITE.replace("SIZES", sizes), tmp_path / "small", large)
    assert result.stdout == f"{large} File too large\n", result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_another_file_in_the_block_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "copy") as file:
        file.write((tmp_path / "source").read_bytes())
    assert caught.value.filename == str(tmp_path / "source")


def test_an_fsync_error_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught, atomic_write(tmp_path / "model"):
        pass
    assert caught.value.filename == str(tmp_path / "model")


COMMANDS = {
    "weights import": ["weights", "import", "{cfg}", "{weights}", "--out", "{out}"],
    "models add": ["models", "add", "everyday", "--name", "mine", "--models", "{folder}"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_cannot_write_its_model_names_the_file(tmp_path, small_model, command):
    cfg, weights, out, folder = (tmp_path / name for name in ("a.cfg", "a.weights", "out.safetensors", "models"))
    write_darknet(small_model, cfg, weights)
    folder.mkdir()
    arguments = [each.format(cfg=cfg, weights=weights, out=out, folder=folder) for each in COMMANDS[command]]
    result = run_with_limited_file_size("runpy.run_module('cli.main', run_name='__main__')", *arguments)
    target = out if command == "weights import" else folder / "mine" / "1"
    assert result.returncode == 2
    assert result.stderr == f"boxwright: {target}: File too large.\n"
    assert not out.exists()
    assert [path.name for path in folder.iterdir()] in ([], [".lock"])


def test_an_error_of_a_library_without_a_file_name_names_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(tmp_path / "plot.jpg"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "plot.jpg")


def test_an_error_never_names_the_temporary_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError) as caught, atomic_write(tmp_path / "file" / "model"):
        pass
    assert caught.value.filename == str(tmp_path / "file" / "model")
