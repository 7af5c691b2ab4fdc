"""What a long-running service asks of the C library's allocator: to give back what photos took, instead of keeping it in pieces."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # glibc, malloc.h
LARGE = 1024 * 1024
"""Bytes: from here on a block has pages of its own, which go back to the system when it is freed. Left to itself glibc raises this up to
32 MiB as blocks are freed, and after 10,000 photos of all sizes held 40% more than before."""
ARENAS = 2
"""Heaps for all threads together; glibc's own limit is eight for each processor."""


def give_memory_back() -> bool:
    """Whether it was asked: only glibc can be, and whoever has set its own variables (MALLOC_..., GLIBC_TUNABLES) knows best."""
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, 4 * LARGE))
    return all(bool(mallopt(name, value)) for name, value in wanted)
