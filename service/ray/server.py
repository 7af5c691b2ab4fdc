"""`boxwright serve --ray`: run the application on Ray, on this machine or on the cluster that RAY_ADDRESS names.

Call `environment.configure_ray_environment` before importing this module.
"""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ray import serve

from detector.engines.cores import usable_cores
from detector.errors import SettingError
from detector.messages import count_of
from service.observability.logging import configure_logging
from service.ray.app import application
from service.ray.cluster import RayStartError, ray_cluster, uses_external_cluster
from service.ray.environment import free_port
from service.ray.proxy import drain_proxy
from service.ray.settings import RaySettings
from service.settings import Settings

logger = logging.getLogger("boxwright.service")

APPLICATION_NAME = "boxwright"
RAY_LOGGING = {"log_level": "WARNING", "enable_access_log": False}  # the service has its own access log


def run_ray_server(settings: Settings, ray_settings: RaySettings) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises SettingError or RayStartError."""
    configure_logging(settings.log_format, settings.log_level)
    check_cores(ray_settings)
    stop = threading.Event()
    with ray_cluster() as cluster_cores:
        with handle_signals(_exit):  # no request has been accepted yet
            replicas = deploy(settings, ray_settings, cluster_cores)
        with handle_signals(lambda _signal, _frame: stop.set()):
            stop.wait()
            replicas.broadcast("begin_shutdown").results()
            threading.Event().wait(settings.notice_seconds)
            if drain_proxy(settings.grace_seconds - settings.notice_seconds) is None:
                serve.delete(APPLICATION_NAME)  # Ray's own proxy cannot be drained; the replicas finish their requests


def check_cores(ray_settings: RaySettings) -> None:
    """Raise SettingError if this machine has fewer cores than the replicas need. A cluster is not checked."""
    cores = usable_cores()
    low, _ = ray_settings.replica_range(cores)
    if low * ray_settings.cores > cores and not uses_external_cluster():
        needed = f"{count_of(low, 'replica')} with {count_of(ray_settings.cores, 'core')} each"
        raise SettingError(
            f"{needed} need more than the {count_of(cores, 'core')} of this machine. Reduce the number of replicas or their cores."
        )


def deploy(settings: Settings, ray_settings: RaySettings, cluster_cores: int) -> serve.handle.DeploymentHandle:
    """Deploy the application, or redeploy it with other settings, and return the handle of its replicas."""
    port = settings.port or free_port(settings.host)
    serve.start(http_options={"host": settings.host, "port": port}, logging_config=RAY_LOGGING)
    try:
        replicas = serve.run(
            application(settings, ray_settings, cluster_cores=cluster_cores), name=APPLICATION_NAME, logging_config=RAY_LOGGING
        )
    except RuntimeError as error:
        raise RayStartError(f"Ray could not start the service: {error} See the log lines above.") from error
    logger.info("Ray Serve running on http://%s:%d (replicas: %s)", settings.host, port, ray_settings.replicas)
    return replicas


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGTERM and Ctrl-C with `handler` within the block. Ray's own handlers are restored afterwards."""
    previous = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
