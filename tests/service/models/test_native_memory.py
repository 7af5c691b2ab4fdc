"""Memory that photos took goes back to the system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FREED = """
import ctypes, sys
from service.models.native_memory import give_memory_back

def resident():
    return int(open("/proc/self/statm").read().split()[1])

malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
asked = give_memory_back()
if asked:  # glibc would learn from this one to keep blocks of its size
    free(malloc(31 << 20))
before = resident()
blocks = [malloc(1 << 20) for _ in range(64)]
for block in blocks:
    ctypes.memset(block, 1, 1 << 20)
kept = malloc(64)  # above them: without pages of their own, nothing below it could go back
for block in blocks:
    free(block)
print(asked, (resident() - before) * 4096)
"""


def run(**variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FREED], cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=True, timeout=60
    )
    asked, bytes_left = done.stdout.split()
    return asked == "True", int(bytes_left)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is asked")
def test_what_large_blocks_took_is_given_back():
    asked, left = run()
    assert asked
    assert left < 4 << 20  # of 64 MiB


def test_whoever_has_set_the_allocators_own_variables_knows_best():
    assert run(MALLOC_ARENA_MAX="4")[0] is False
