"""The service over Ray Serve: any number of replicas of the same application, and a proxy that spreads requests over them.

serve run service.ray_app:build replicas=4
"""

from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig

from detector.errors import SettingError
from service.ray.replica import DetectorReplica
from service.ray.settings import AUTO, RaySettings, check_settings
from service.settings import Settings, read_settings

NEVER = 100_000
"""Requests at a time beyond which Ray itself would hold them back, or refuse them in plain words: long before, the replica's own queue is
full, and it answers 503 with a problem and an honest Retry-After."""


def build(args: RaySettings) -> serve.Application:
    """The application, from `args` and the environment (BOXWRIGHT_MODEL, ...). Raises SettingError.

    Ray builds before it connects: how many detectors there shall be must be told.
    """
    if args.replicas == AUTO:
        raise SettingError("how many detectors? Add replicas=4, or replicas=1-8 for as many as the load asks for.")
    return application(read_settings(), args, processors=0)


def application(settings: Settings, ray_settings: RaySettings, *, processors: int) -> serve.Application:
    """The application with these settings, for a Ray with so many processors.

    Raises SettingError for a setting that means nothing under Ray.
    """
    check_settings(settings)
    detector = serve.deployment(
        serve.ingress()(DetectorReplica),
        name="detector",
        ray_actor_options={"num_cpus": ray_settings.cores},
        max_ongoing_requests=NEVER,
        max_queued_requests=NEVER,
        graceful_shutdown_timeout_s=settings.grace_seconds,
        **_how_many(settings, ray_settings, processors),
    )
    return detector.bind(settings, ray_settings.cores)


def _how_many(settings: Settings, ray_settings: RaySettings, processors: int) -> dict[str, Any]:
    least, most = ray_settings.bounds(processors)
    if least == most:
        return {"num_replicas": most}
    busy = ray_settings.cores + settings.batch_size  # one is computed, and the others get ready beside it or are finished
    return {"autoscaling_config": AutoscalingConfig(min_replicas=least, max_replicas=most, target_ongoing_requests=busy)}
