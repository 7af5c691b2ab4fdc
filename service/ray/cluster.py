"""Start Ray on this machine, or connect to the cluster that RAY_ADDRESS names.

Call `environment.configure_ray_environment` before importing this module.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from detector.engines.cores import usable_cores
from detector.errors import BoxwrightError


class RayStartError(BoxwrightError):
    """Ray could not start, or could not start the application."""


@contextmanager
def ray_cluster(*, show_logs: bool = True) -> Iterator[int]:
    """Run the block with Ray; yield the number of its cores.

    Args:
        show_logs: Print the logs of Ray's processes here.

    Raises:
        RayStartError: Ray does not start, or the cluster does not answer.
    """
    try:
        if uses_external_cluster():
            ray.init(log_to_driver=show_logs)
        else:
            ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, log_to_driver=show_logs)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"connect to the cluster at {os.environ['RAY_ADDRESS']}" if uses_external_cluster() else "start Ray on this machine"
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RayStartError(f"Cannot {where}: {reason}") from error
    try:
        yield int(ray.cluster_resources().get("CPU", 0))
    finally:
        ray.shutdown()


def uses_external_cluster() -> bool:
    """Return True if RAY_ADDRESS names a cluster."""
    return bool(os.environ.get("RAY_ADDRESS"))
