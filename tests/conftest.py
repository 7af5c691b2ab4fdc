"""Fixtures that several packages' tests share."""

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

from detector.boxes import box_iou
from detector.network import Conv, MaxPool, Network
from detector.shapes import Arrays, array_shapes
from detector.spec import Model, ModelSpec

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

os.environ.setdefault("BOXWRIGHT_ENGINES", "0")  # no test leaves engines in the cache of whoever runs it; those that want some say so
settings.register_profile("no clock", deadline=None)  # a busy machine is no defect of the code
settings.load_profile("no clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the long ones are."""
    parser.addoption("--strangers", type=int, default=400, metavar="N", help="mutated photos, and forms, that the service is sent (400)")


LONGEST = ("test_workers.py", "test_finetune.py", "test_archive.py", "test_readme.py", "test_feature_cache.py", "test_step.py")
"""Files that take a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: where two processes share the files, neither is left alone with one of them in the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


Box = dict[str, Any]
"""label, score, xmin, ymin, xmax, ymax, as in the reference files."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos, weights and reference answers beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder of test data at {SHARED}, which a clone alone does not have")
    return SHARED


def _random_arrays(network: Network, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    ranges = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "mean": (-0.2, 0.2), "variance": (0.5, 1.5), "bias": (-0.2, 0.2)}
    arrays = {}
    for name, shape in array_shapes(network).items():
        part = name.rpartition("/")[2]
        if part == "kernel":  # He: the signal neither dies nor explodes on its way
            array = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        else:
            array = rng.uniform(*ranges[part], shape).astype(np.float32)
        arrays[name] = array
    return arrays


@pytest.fixture(scope="session")
def random_arrays() -> Callable[[Network, int], Arrays]:
    """(network, seed) -> arrays whose activations stay in a natural range."""
    return _random_arrays


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    """Three labels, 64 pixels, stride 32, seeded random arrays: says something of every photo, in a millisecond."""
    labels = ("cat", "dog", "person")
    stem = tuple(layer for i in range(5) for layer in (Conv(f"conv{i + 1}", 8), MaxPool(f"pool{i + 1}")))
    network = (*stem, Conv("linear", 2 * (5 + len(labels)), size=1, normalize=False, activation="linear"))
    spec = ModelSpec(labels, ((0.7, 0.9), (1.5, 1.1)), network, input_size=64)
    return Model("tiny-random", spec, _random_arrays(network, seed=1), {"source": "seeded random numbers"})


def _matches(box: Box, others: list[Box], tolerance: float) -> bool:
    corners = ("xmin", "ymin", "xmax", "ymax")
    alike = [other for other in others if other["label"] == box["label"] and abs(other["score"] - box["score"]) <= tolerance]
    if not alike:
        return False
    first, second = (np.array([[b[corner] for corner in corners] for b in bs], np.float32) for bs in ([box], alike))
    return bool(box_iou(first, second).max() >= 0.99)


@pytest.fixture(scope="session")
def assert_same_boxes() -> Callable[..., None]:
    """(ours, reference, threshold=0.25, score_tolerance=0.01): every box of one side at the threshold or more is on the other: same
    label, score within the tolerance, IoU at least 0.99. A box nearer to the threshold than that may be on one side only."""

    def check(ours: list[Box], reference: list[Box], threshold: float = 0.25, score_tolerance: float = 0.01) -> None:
        for side, other, whose in ((reference, ours, "missing"), (ours, reference, "surplus")):
            certain = [box for box in side if box["score"] >= threshold + score_tolerance]
            wrong = [box for box in certain if not _matches(box, other, score_tolerance)]
            assert not wrong, f"{whose}: {wrong}"
        assert len({_key(box) for box in ours}) == len(ours), "a box was reported twice"

    return check


def _key(box: Box) -> tuple[Any, ...]:
    return tuple(box[part] for part in ("label", "score", "xmin", "ymin", "xmax", "ymax"))


class Served:
    """A `boxwright serve` of its own process, and what it has logged so far."""

    def __init__(self, model=None, **environment):
        command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", *(["--model", str(model)] if model else [])]
        # standard output and error in one pipe, so that the two come in order
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
        """The most memory it has had so far, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def stop(self):
        """Ask it to end; its exit code."""
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self._reader.join()
        self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def start_service() -> type[Served]:
    """(model file, or none for the one that ships; environment) -> a running `Served`; stop it."""
    return Served
