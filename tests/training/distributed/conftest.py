"""Workers as separate processes on this machine."""

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def free_ports(count):
    """Return different unused ports. All sockets stay open until the last port is found."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Worker:
    """A `boxwright finetune` process in its own empty folder."""

    def __init__(self, arguments, folder, environment):
        folder.mkdir()
        self.folder, self.output = folder, []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "finetune", *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "BOXWRIGHT_HOME": str(folder.parent / "home")} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for_line(self, text):
        """Read the output up to a line that contains the text."""
        for line in self.process.stdout:
            self.output.append(line)
            if text in line:
                return
        pytest.fail(f"the worker ended without {text!r}: {''.join(self.output)}")

    def wait(self, timeout=400):
        """Return the exit code and the complete output."""
        try:
            rest, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the worker has not ended: {''.join(self.output)}")
        self.output.append(rest)
        return self.process.returncode, "".join(self.output)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """(arguments of each worker, tf_config=False) -> context manager with the running workers, which ends them.

    tf_config: pass the addresses in TF_CONFIG, not as options.
    """

    @contextmanager
    def start(*arguments, tf_config=False):
        folder, addresses = tmp_path_factory.mktemp("workers"), [f"127.0.0.1:{port}" for port in free_ports(len(arguments))]
        started = []
        try:
            for index, each in enumerate(arguments):
                options = () if tf_config else ("--workers", ",".join(addresses), "--worker-index", index)
                config = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
                environment = {"TF_CONFIG": config} if tf_config else {}
                started.append(Worker((*each, *options), folder / str(index), environment))
            yield started
        finally:
            for worker in started:
                worker.process.kill()
                worker.process.communicate()

    return start
