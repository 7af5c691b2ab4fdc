"""How many processors this process may really use, which in a container is not how many the machine has, and what they are good at."""

import os
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """The least of: processors that the scheduler allows (affinity), and the cgroup's quota rounded up; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, ceil(_quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Processors' worth of time that the cgroup grants: version 2 (cpu.max: "200000 100000"), or version 1; infinity if unlimited."""
    version_2, version_1 = cgroup / "cpu.max", cgroup / "cpu" / "cpu.cfs_quota_us"
    if version_2.is_file():
        quota, period = version_2.read_text().split()
        return int(quota) / int(period) if quota != "max" else _UNLIMITED
    if version_1.is_file():
        quota, period = version_1.read_text(), (version_1.parent / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else _UNLIMITED
    return _UNLIMITED


def has_vnni(cpuinfo: Path = CPUINFO) -> bool:
    """Whether products of 8 bits are summed up in 32: all but x86 processors without VNNI's instructions."""
    known = instructions(cpuinfo).split()
    return "flags" not in known or bool({"avx512_vnni", "avx_vnni"} & set(known))


def instructions(cpuinfo: Path = CPUINFO) -> str:
    """The line in which the system tells the processor's instructions ("flags : fpu vme ..."); "" where it does not say."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


_UNLIMITED = 1 << 20
