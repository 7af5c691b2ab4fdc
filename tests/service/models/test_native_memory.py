"""Freed memory returns to the operating system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import ctypes, sys
from service.models.native_memory import configure_allocator

def resident():
    return int(open("/proc/self/statm").read().split()[1])

malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
configured = configure_allocator()
if configured:  # without the options, glibc would keep blocks of this size after one has been freed
    free(malloc(31 << 20))
before = resident()
blocks = [malloc(1 << 20) for _ in range(64)]
for block in blocks:
    ctypes.memset(block, 1, 1 << 20)
top_block = malloc(64)  # keeps the heap from shrinking: only blocks with their own pages can be returned
for block in blocks:
    free(block)
print(configured, (resident() - before) * 4096)
"""


def run(**variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=True, timeout=60
    )
    configured, bytes_left = result.stdout.split()
    return configured == "True", int(bytes_left)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_large_blocks_are_returned():
    configured, left = run()
    assert configured
    assert left < 4 << 20  # of 64 MiB


def test_options_in_the_environment_have_priority():
    assert run(MALLOC_ARENA_MAX="4")[0] is False
