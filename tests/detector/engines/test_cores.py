"""The number of usable cores: CPU affinity and control-group quotas."""

import os

import pytest

from detector.engines.cores import usable_cores

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ALLOWED),
        ({"cpu.max": "max 100000\n"}, ALLOWED),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, min(2, ALLOWED)),
        ({"cpu.max": "99900000 100000\n"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(files, expected, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == expected


@pytest.mark.parametrize(
    ("process_cgroups", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000\n"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1),
        ("0::/a/b\n", {"cpu.max": "100000 100000\n", "a/b/cpu.max": "9900000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/c/cpu.max": "100000 100000\n", "other/cpu.max": "100000 100000\n"}, ALLOWED),
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/../a\n", {"a/cpu.max": "100000 100000\n"}, ALLOWED),
        ("4:cpu,cpuacct:/a\n0::/\n", {"cpu/a/cpu.cfs_quota_us": "100000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 1),
        ("4:cpuset:/a\n", {"cpu/a/cpu.cfs_quota_us": "100000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, ALLOWED),
        ("1:name=systemd:/a:b\n0::/a:b\n", {"a:b/cpu.max": "100000 100000\n"}, 1),
    ],
)
def test_the_quotas_of_a_control_group_and_its_parents_limit_the_cores(process_cgroups, files, expected, tmp_path):
    for name, text in files.items():
        (tmp_path / "tree" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "tree" / name).write_text(text)
    (tmp_path / "process_cgroups").write_text(process_cgroups)
    assert usable_cores(tmp_path / "tree", tmp_path / "process_cgroups") == expected


def test_without_affinity_all_processors_are_usable(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert usable_cores(tmp_path) == os.cpu_count()


def test_affinity_limits_the_cores(tmp_path):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
