"""The service over Ray Serve: any number of replicas of the same application, and a proxy that spreads requests over them.

serve run service.ray_app:build replicas=4
"""

from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig

from service.ray_replica import Replica
from service.ray_settings import RaySettings, check_settings
from service.settings import Settings, read_settings

NEVER = 100_000
"""Requests at a time beyond which Ray itself would hold them back, or refuse them in plain words: long before, the replica's own queue is
full, and it answers 503 with a problem and an honest Retry-After."""


def build(args: RaySettings) -> serve.Application:
    """The application, from `args` and the environment (BOXWRIGHT_MODEL, ...). Raises SettingError."""
    return application(read_settings(), args)


def application(settings: Settings, ray_settings: RaySettings) -> serve.Application:
    """The application with these settings, for the Ray that there is. Raises SettingError for one that means nothing under Ray."""
    check_settings(settings)
    detector = serve.deployment(
        serve.ingress()(Replica),
        name="detector",
        ray_actor_options={"num_cpus": ray_settings.cores},
        max_ongoing_requests=NEVER,
        max_queued_requests=NEVER,
        graceful_shutdown_timeout_s=settings.grace_seconds,
        **_how_many(settings, ray_settings),
    )
    return detector.bind(settings, ray_settings.cores)


def _how_many(settings: Settings, ray_settings: RaySettings) -> dict[str, Any]:
    least, most = ray_settings.bounds(int(ray.cluster_resources().get("CPU", 1)))
    if least == most:
        return {"num_replicas": most}
    busy = ray_settings.cores + settings.batch_size  # it works on these, and none waits
    return {"autoscaling_config": AutoscalingConfig(min_replicas=least, max_replicas=most, target_ongoing_requests=busy)}
