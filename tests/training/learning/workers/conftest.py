"""Workers as real processes on loopback."""

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


def free_ports(count):
    """Ports that nobody listens on; all different, as they are held until the last is found."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Worker:
    """A `boxwright finetune` of a process of its own, in an empty folder of its own."""

    def __init__(self, words, folder, environment):
        folder.mkdir()
        self.folder, self.told = folder, []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "finetune", *map(str, words)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "BOXWRIGHT_HOME": str(folder.parent / "home")} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, text):
        """Read what it says up to a line with that text."""
        for line in self.process.stdout:
            self.told.append(line)
            if text in line:
                return
        pytest.fail(f"it ended without {text!r}: {''.join(self.told)}")

    def end(self, timeout=400):
        """Its exit code and all it has said."""
        try:
            rest, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it has not ended: {''.join(self.told)}")
        self.told.append(rest)
        return self.process.returncode, "".join(self.told)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """(words of each worker, tf_config=False) -> the running workers, as a context; none is left behind. tf_config: TF_CONFIG says who
    is who, not options."""

    @contextmanager
    def start(*words, tf_config=False):
        folder, addresses = tmp_path_factory.mktemp("workers"), [f"127.0.0.1:{port}" for port in free_ports(len(words))]
        started = []
        try:
            for index, each in enumerate(words):
                options = () if tf_config else ("--workers", ",".join(addresses), "--worker-index", index)
                told = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
                environment = {"TF_CONFIG": told} if tf_config else {}
                started.append(Worker((*each, *options), folder / str(index), environment))
            yield started
        finally:
            for worker in started:
                worker.process.kill()
                worker.process.communicate()

    return start
