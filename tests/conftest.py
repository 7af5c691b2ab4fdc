"""Fixtures for the tests of several packages."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from detector.boxes.geometry import box_iou
from detector.network.layers import Conv, MaxPool, Network
from detector.network.shapes import Arrays, array_shapes
from detector.network.spec import Model, ModelSpec

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

os.environ.setdefault("BOXWRIGHT_ENGINES", "0")  # tests must not write engines to the user's cache; tests of the cache enable it
settings.register_profile("no deadline", deadline=None)  # a slow machine must not fail a test
settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the number of generated requests in the test of untrusted input."""
    parser.addoption(
        "--untrusted-inputs",
        type=int,
        default=400,
        metavar="N",
        help="number of mutated images, and of forms, sent to the service (default 400)",
    )


SLOWEST = ("test_multi_worker.py", "test_finetune.py", "test_archive.py", "test_readme.py", "test_cache.py", "test_trainer.py")
"""Test files that take a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first, so that two parallel test processes finish at about the same time."""
    items.sort(key=lambda item: SLOWEST.index(item.path.name) if item.path.name in SLOWEST else len(SLOWEST))


Box = dict[str, Any]
"""Box of a reference file: label, score, xmin, ymin, xmax, ymax."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder next to the checkout with real images, weights and reference results."""
    if not SHARED.is_dir():
        pytest.skip(f"requires the test data in {SHARED}, which is not part of the repository")
    return SHARED


def _random_arrays(network: Network, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    ranges = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "mean": (-0.2, 0.2), "variance": (0.5, 1.5), "bias": (-0.2, 0.2)}
    arrays = {}
    for name, shape in array_shapes(network).items():
        part = name.rpartition("/")[2]
        if part == "kernel":  # He initialisation, so that activations neither vanish nor explode
            array = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        else:
            array = rng.uniform(*ranges[part], shape).astype(np.float32)
        arrays[name] = array
    return arrays


@pytest.fixture(scope="session")
def random_arrays() -> Callable[[Network, int], Arrays]:
    """Function (network, seed) -> random arrays that keep activations in a moderate range."""
    return _random_arrays


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    """Random model with three labels, 64 pixels and stride 32. It detects something in every image within a millisecond."""
    labels = ("cat", "dog", "person")
    stem = tuple(layer for i in range(5) for layer in (Conv(f"conv{i + 1}", 8), MaxPool(f"pool{i + 1}")))
    network = (*stem, Conv("linear", 2 * (5 + len(labels)), size=1, normalize=False, activation="linear"))
    spec = ModelSpec(labels, ((0.7, 0.9), (1.5, 1.1)), network, input_size=64)
    return Model("tiny-random", spec, _random_arrays(network, seed=1), {"source": "seeded random numbers"})


def _matches(box: Box, others: list[Box], tolerance: float) -> bool:
    edges = ("xmin", "ymin", "xmax", "ymax")
    similar = [other for other in others if other["label"] == box["label"] and abs(other["score"] - box["score"]) <= tolerance]
    if not similar:
        return False
    first, second = (np.array([[each[edge] for edge in edges] for each in boxes], np.float32) for boxes in ([box], similar))
    return bool(box_iou(first, second).max() >= 0.99)


@pytest.fixture(scope="session")
def assert_same_boxes() -> Callable[..., None]:
    """Function (ours, reference, threshold=0.25, score_tolerance=0.01) that asserts that both lists have the same boxes.

    Matching boxes have the same label, scores within the tolerance and an IoU of at least 0.99. A box with a score below the threshold
    plus the tolerance may be missing from the other list.
    """

    def check(ours: list[Box], reference: list[Box], threshold: float = 0.25, score_tolerance: float = 0.01) -> None:
        for boxes, others, problem in ((reference, ours, "missing"), (ours, reference, "surplus")):
            required = [box for box in boxes if box["score"] >= threshold + score_tolerance]
            unmatched = [box for box in required if not _matches(box, others, score_tolerance)]
            assert not unmatched, f"{problem}: {unmatched}"
        assert len({_key(box) for box in ours}) == len(ours), "a box was reported twice"

    return check


def _key(box: Box) -> tuple[Any, ...]:
    return tuple(box[part] for part in ("label", "score", "xmin", "ymin", "xmax", "ymax"))


class ServiceProcess:
    """A running `boxwright serve` process and its log."""

    def __init__(self, model=None, **environment):
        command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", *(["--model", str(model)] if model else [])]
        # one pipe for standard output and error preserves their order
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"BOXWRIGHT_NOTICE_SECONDS": "0"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log = []
        for line in self.process.stdout:
            self.log.append(line)
            if "running on http://" in line:
                self.port = int(line.partition("http://")[2].partition(" ")[0].rpartition(":")[2])
                break
        else:
            pytest.fail(f"the service did not start: {''.join(self.log)}")
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stdout))
        self._reader.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def memory(self):
        """Return the peak resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def stop(self):
        """Terminate the process and return its exit code."""
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self._reader.join()
        self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def start_service() -> type[ServiceProcess]:
    """Function (model file, or None for the default; environment) -> running `ServiceProcess`, which the caller must stop."""
    return ServiceProcess


@pytest.fixture
def deny_reading(monkeypatch):
    """(folder) -> None. The folder cannot be listed from now on, not even by root."""

    def deny(folder):
        scandir = os.scandir

        def deny_folder(path):
            if Path(path) == folder:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", deny_folder)

    return deny
