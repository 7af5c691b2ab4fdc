"""`boxwright serve --ray` and `boxwright detect --ray` as processes that start a real Ray."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from weights.formats.safetensors import save_model

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "docs" / "photos"


@pytest.fixture(scope="session", autouse=True)
def require_ray():
    """Skip the tests if the extra is not installed."""
    for name in ("ray", "pyarrow"):
        if find_spec(name) is None:
            pytest.skip(f"needs {name}: pip install 'boxwright[ray]'")


@pytest.fixture(scope="session")
def model_file(tiny_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


def command(*arguments):
    return [sys.executable, "-m", "cli.main", *map(str, arguments)]


def environment(**variables):
    return os.environ | {"PYTHONPATH": str(ROOT), "BOXWRIGHT_NOTICE_SECONDS": "0"} | variables


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass
class Cluster:
    """A running `boxwright serve --ray`, and its log so far."""

    process: subprocess.Popen
    port: int
    log: list[str] = field(default_factory=list)

    def request(self, method, path, body=None):
        """Send one request on a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def replicas(self):
        """Return the process ids of the replicas."""
        return [pid for pid, name in _processes() if "ServeReplica" in name and self.process.pid in _ancestors(pid)]


def _processes():
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # the process has just ended
            continue


def _ancestors(pid):
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return
        yield pid


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="session")
def cluster():
    """Two replicas with one core each, the default model and a queue of one image."""
    port = _free_port()
    arguments = command("serve", "--ray", "--replicas", 2, "--port", port, "--set", "queue_size=1", "--set", "log_format=text")
    process = subprocess.Popen(
        arguments, cwd=SAMPLES, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    cluster = Cluster(process, port)
    for line in process.stdout:
        cluster.log.append(line)
        if "running on http://" in line:
            break
    else:
        pytest.fail(f"the service did not start: {''.join(cluster.log)}")
    reader = threading.Thread(target=lambda: cluster.log.extend(process.stdout))
    reader.start()
    yield cluster
    process.terminate()
    process.wait(timeout=60)
    reader.join()
    process.stdout.close()
