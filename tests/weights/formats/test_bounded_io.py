"""Files that another program replaces while they are opened."""

import os
from pathlib import Path

import pytest

from detector.errors import ModelFileError
from weights.formats.bounded_io import open_regular_file


def test_file_that_becomes_a_pipe_before_it_is_opened_is_refused_without_waiting(tmp_path):
    """Opening a pipe waits for a writer, so the watcher of the model folder would never scan again."""

    class ReplacedPath(type(Path())):
        def stat(self, **options):
            status = super().stat(**options)
            self.unlink()
            os.mkfifo(self)
            return status

    path = ReplacedPath(tmp_path / "model.safetensors")
    path.write_bytes(b"model")
    with pytest.raises(ModelFileError, match="not a regular file"), open_regular_file(path):
        pytest.fail("the pipe was opened")
