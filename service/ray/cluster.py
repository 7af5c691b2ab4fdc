"""Ray on this machine, or the cluster that RAY_ADDRESS names. `ray_environment.set_up_environment` comes before this is imported."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from detector.engines.cores import usable_cores


@contextmanager
def started(*, show_logs: bool = True) -> Iterator[int]:
    """Within, there is Ray; how many processors it has. show_logs: what its processes log comes out here too."""
    if joined():
        ray.init(log_to_driver=show_logs)
    else:
        ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, log_to_driver=show_logs)
    try:
        yield int(ray.cluster_resources().get("CPU", 0))
    finally:
        ray.shutdown()


def joined() -> bool:
    """Whether there is a cluster, instead of a Ray of our own."""
    return bool(os.environ.get("RAY_ADDRESS"))
