"""Processors that this process may use, and their instruction sets. A container may use fewer than the machine has."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROCESS_CGROUPS = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")


def usable_cores(cgroup_root: Path = CGROUP_ROOT, process_cgroups: Path = PROCESS_CGROUPS) -> int:
    """Return the minimum of CPU affinity and the cgroup quotas (rounded up); at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # only Linux has affinity
    return max(1, min(allowed, *(ceil(_cpu_quota(folder)) for folder in cgroup_folders("cpu", cgroup_root, process_cgroups))))


def cgroup_folders(controller: str, cgroup_root: Path = CGROUP_ROOT, process_cgroups: Path = PROCESS_CGROUPS) -> Iterator[Path]:
    """Yield the folders of all control groups that contain this process. Each group's limit applies.

    The order is arbitrary; folders may repeat or be missing. Version 2 has one tree for all controllers. Version 1 has one tree per
    controller. A machine may have both versions. systemd and Slurm set limits on a group deep in the tree. Inside a container the
    container's group is the root, and its parents are invisible.
    """
    yield from (cgroup_root, cgroup_root / controller)
    for line in process_cgroups.read_text().splitlines() if process_cgroups.is_file() else ():
        _, controllers, path = line.split(":", 2)  # "0::/a/b", "4:cpu,cpuacct:/a/b"
        group = PurePosixPath(path.lstrip("/"))
        if ".." not in group.parts and controller in (controllers or controller).split(","):
            tree = cgroup_root / controller if controllers else cgroup_root
            yield from (tree / ancestor for ancestor in (group, *group.parents))


def _cpu_quota(folder: Path) -> float:
    """Return the group's CPU quota in processors, from version 2 (cpu.max: "200000 100000") or version 1 files."""
    version_2, version_1 = folder / "cpu.max", folder / "cpu.cfs_quota_us"
    if version_2.is_file():
        quota, period = version_2.read_text().split()
        return int(quota) / int(period) if quota != "max" else _UNLIMITED
    if version_1.is_file():
        quota, period = version_1.read_text(), (folder / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else _UNLIMITED
    return _UNLIMITED


def has_vnni() -> bool:
    """Return whether the processor sums 8-bit products in 32 bits. All do, except x86 processors without VNNI."""
    flags = set(cpu_flags().split())
    return "flags" not in flags or bool({"avx512_vnni", "avx_vnni"} & flags)


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 numbers."""
    return bool({"avx512_bf16", "amx_bf16"} & set(cpu_flags().split()))


def cpu_flags() -> str:
    """Return the line of /proc/cpuinfo that lists the instruction sets ("flags : fpu vme ..."), or "" if there is none."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


_UNLIMITED = 1 << 20
