"""`boxwright serve --ray`: Ray on this machine, or the cluster that RAY_ADDRESS names, the application on it, and an end in order.

`ray_environment.set_up_environment` comes before this is imported.
"""

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ray import serve

from detector.engines.cores import usable_cores
from detector.errors import BoxwrightError, SettingError
from service.observability.logging import configure_logging
from service.ray.app import application
from service.ray.cluster import ray_cluster, uses_external_cluster
from service.ray.proxy import close_proxy
from service.ray.settings import RaySettings
from service.settings import Settings

logger = logging.getLogger("boxwright.service")

NAME = "boxwright"
QUIET = {"log_level": "WARNING", "enable_access_log": False}  # the service has an access log of its own


class NotStarted(BoxwrightError):
    """Ray could not start the application."""


def run_ray_server(settings: Settings, ray_settings: RaySettings) -> None:
    """Answer until SIGTERM or Ctrl-C. Raises SettingError, NotStarted."""
    configure_logging(settings.log_format, settings.log_level)
    check_cores(ray_settings)
    asked_to_leave = threading.Event()
    with ray_cluster() as processors:
        with signals_to(_leave):  # there is nobody yet to take leave of
            detectors = deploy(settings, ray_settings, processors)
        with signals_to(lambda _signal, _frame: asked_to_leave.set()):
            asked_to_leave.wait()
            detectors.broadcast("announce_end").results()
            threading.Event().wait(settings.notice_seconds)
            if close_proxy(settings.grace_seconds - settings.notice_seconds) is None:
                serve.delete(NAME)  # Ray's own proxy has no such thing; the detectors answer what they have


def check_cores(ray_settings: RaySettings) -> None:
    """Raises SettingError where this machine alone is to serve, and has fewer processors than the detectors want."""
    cores = usable_cores()
    least, _ = ray_settings.bounds(cores)
    if least * ray_settings.cores > cores and not uses_external_cluster():
        raise SettingError(f"{least} detectors, {ray_settings.cores} cores each: there are {cores} cores here; ask for fewer.")


def deploy(settings: Settings, ray_settings: RaySettings, processors: int) -> serve.handle.DeploymentHandle:
    """The application, listening; the handle of its detectors. Once more: with as many detectors as it says now."""
    port = settings.port or _free_port(settings.host)
    serve.start(http_options={"host": settings.host, "port": port}, logging_config=QUIET)
    try:
        detectors = serve.run(application(settings, ray_settings, processors=processors), name=NAME, logging_config=QUIET)
    except RuntimeError as error:
        raise NotStarted(f"Ray could not start the service: {error} The lines above say more.") from error
    logger.info("Ray Serve running on http://%s:%d (detectors: %s)", settings.host, port, ray_settings.replicas)
    return detectors


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def signals_to(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C go there. Ray has handlers of its own, which come back afterwards."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
