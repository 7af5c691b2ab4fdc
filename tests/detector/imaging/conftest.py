"""A child process that decodes files and reports their cost."""

import json
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

CHILD = r"""
import json, re, struct, sys, time
from pathlib import Path

from detector.errors import ImageError
from detector.imaging.image import decode_image

while header := sys.stdin.buffer.read(8):
    data = sys.stdin.buffer.read(struct.unpack("<Q", header)[0])
    before = time.process_time()
    try:
        outcome = "x".join(map(str, decode_image(data).pillow_image.size))
    except ImageError as error:
        outcome = f"{type(error).__name__}: {error}"
    peak = 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # ru_maxrss may be the parent's
    print(json.dumps([outcome, time.process_time() - before, peak]), flush=True)
"""


@dataclass(frozen=True)
class DecodeCost:
    """Outcome ("WIDTHxHEIGHT" or "ErrorClass: message") and cost of decoding one file."""

    outcome: str
    cpu_seconds: float
    peak_bytes: int  # maximum of the child process so far

    @property
    def refused(self):
        return ": " in self.outcome


class CostMeter:
    """Decodes files in a child process, so that its peak memory excludes the tests' own."""

    def __init__(self):
        command = [sys.executable, "-c", CHILD]
        self._child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self(b"warm-up")

    def __call__(self, data):
        self._child.stdin.write(struct.pack("<Q", len(data)) + data)
        self._child.stdin.flush()
        return DecodeCost(*json.loads(self._child.stdout.readline()))

    def close(self):
        self._child.stdin.close()
        self._child.wait(timeout=60)
        self._child.stdout.close()


@pytest.fixture
def cost_of():
    """Return a function (file content) -> DecodeCost."""
    meter = CostMeter()
    yield meter
    meter.close()
