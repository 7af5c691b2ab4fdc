"""What a measured number depends on: the processor with the instructions that matter, cores, versions, how busy it was."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8")
"""Of these the machine's are named, as each changes what a network costs."""


def machine() -> dict[str, object]:
    """Facts ready for JSON. load: processes that wanted a core in the last minute, ours among them."""
    return {
        "processor": _cpuinfo("model name") or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in _cpuinfo("flags").split()],
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that are installed here, and Python's."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def resident_mib(process: int | str = "self", field: str = "VmRSS") -> float:
    """MiB of memory that a process has now, or with VmHWM the most it has had."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field))


def _cpuinfo(field: str) -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
