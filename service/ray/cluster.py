"""Start Ray on this machine, or connect to the cluster that RAY_ADDRESS names.

Call `environment.configure_ray_environment` before importing this module.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from detector.engines.cores import usable_cores


@contextmanager
def ray_cluster(*, show_logs: bool = True) -> Iterator[int]:
    """Run the block with Ray; yield the number of its cores. `show_logs` prints the logs of Ray's processes here."""
    if uses_external_cluster():
        ray.init(log_to_driver=show_logs)
    else:
        ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, log_to_driver=show_logs)
    try:
        yield int(ray.cluster_resources().get("CPU", 0))
    finally:
        ray.shutdown()


def uses_external_cluster() -> bool:
    """Return True if RAY_ADDRESS names a cluster."""
    return bool(os.environ.get("RAY_ADDRESS"))
