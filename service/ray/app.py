"""The service as a Ray Serve application: several replicas behind one proxy.

serve run service.ray.app:build replicas=4
"""

from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig

from detector.errors import SettingError
from service.ray.replica import DetectorReplica
from service.ray.settings import AUTO, RaySettings, check_supported
from service.settings import Settings, read_settings

UNLIMITED_REQUESTS = 100_000
"""Effectively no limit by Ray. A replica's own queue is full much earlier, and the replica then answers 503 with Retry-After."""


def build(args: RaySettings) -> serve.Application:
    """Build the application from `args` and the environment (BOXWRIGHT_MODEL, ...).

    Raises SettingError if a setting is not valid, or `replicas` is "auto": Ray calls this function before it knows the size of the cluster.
    """
    if args.replicas == AUTO:
        raise SettingError("the number of replicas is required. Add replicas=4, or replicas=1-8 to scale with the load.")
    return application(read_settings(), args, cluster_cores=0)


def application(settings: Settings, ray_settings: RaySettings, *, cluster_cores: int) -> serve.Application:
    """Build the application for a Ray cluster with this number of cores. Raises SettingError if a setting has no effect under Ray."""
    check_supported(settings)
    deployment = serve.deployment(
        serve.ingress()(DetectorReplica),
        name="detector",
        ray_actor_options={"num_cpus": ray_settings.cores},
        max_ongoing_requests=UNLIMITED_REQUESTS,
        max_queued_requests=UNLIMITED_REQUESTS,
        graceful_shutdown_timeout_s=settings.grace_seconds,
        **_scaling(settings, ray_settings, cluster_cores),
    )
    return deployment.bind(settings, ray_settings.cores)


def _scaling(settings: Settings, ray_settings: RaySettings, cluster_cores: int) -> dict[str, Any]:
    low, high = ray_settings.replica_range(cluster_cores)
    if low == high:
        return {"num_replicas": high}
    busy = ray_settings.cores + settings.batch_size  # one batch is in the network while other images are decoded
    return {"autoscaling_config": AutoscalingConfig(min_replicas=low, max_replicas=high, target_ongoing_requests=busy)}
