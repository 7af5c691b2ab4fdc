"""How many processors this process may really use, which in a container is not how many the machine has, and what they are good at."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

CGROUP = Path("/sys/fs/cgroup")
MEMBER = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")


def usable_cores(cgroup: Path = CGROUP, member: Path = MEMBER) -> int:
    """The least of: processors that the scheduler allows (affinity), and the cgroups' quotas rounded up; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # Linux alone tells it
    return max(1, min(allowed, *(ceil(_quota(group)) for group in groups("cpu", cgroup, member))))


def groups(controller: str, cgroup: Path = CGROUP, member: Path = MEMBER) -> Iterator[Path]:
    """Folders of the control groups around this process, in no order, some twice and some not there: each one's limit holds.

    Version 2 has one tree for all controllers, version 1 a tree for each, and a machine may have both. systemd and Slurm set their
    limits on a group deep in the tree; in a container's own namespace its group is the root, and what is above it cannot be seen.
    """
    yield from (cgroup, cgroup / controller)
    for line in member.read_text().splitlines() if member.is_file() else ():
        _, controllers, path = line.split(":", 2)  # "0::/a/b", "4:cpu,cpuacct:/a/b"
        own = PurePosixPath(path.lstrip("/"))
        if ".." not in own.parts and controller in (controllers or controller).split(","):
            tree = cgroup / controller if controllers else cgroup
            yield from (tree / group for group in (own, *own.parents))


def _quota(group: Path) -> float:
    """Processors' worth of time that the group is granted: version 2 (cpu.max: "200000 100000"), or version 1; infinity if unlimited."""
    version_2, version_1 = group / "cpu.max", group / "cpu.cfs_quota_us"
    if version_2.is_file():
        quota, period = version_2.read_text().split()
        return int(quota) / int(period) if quota != "max" else _UNLIMITED
    if version_1.is_file():
        quota, period = version_1.read_text(), (group / "cpu.cfs_period_us").read_text()
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
