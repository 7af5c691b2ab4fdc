"""How many processors this process may really use, which in a container is not how many the machine has."""

import os
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


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


_UNLIMITED = 1 << 20
