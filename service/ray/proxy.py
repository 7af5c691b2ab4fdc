"""Drain the HAProxy process that Ray Serve starts. This module does not import Ray."""

import os
import select
import signal
import socket
from pathlib import Path

SOCKET_VARIABLE = "RAY_SERVE_HAPROXY_SOCKET_PATH"
"""Environment variable with the path of the socket where HAProxy accepts commands. `configure_ray_environment` sets it."""


def drain_proxy(timeout: float) -> bool | None:
    """Stop listening, finish the open requests, and end HAProxy.

    Args:
        timeout: Seconds to wait for its end.

    Returns:
        True if HAProxy has ended, False after the timeout, None if there is no HAProxy.
    """
    configured = Path(os.environ.get(SOCKET_VARIABLE, ""))
    path = next(configured.parent.glob(f"*/{configured.name}"), None)  # one folder per node
    if path is None:
        return None
    try:
        process = os.pidfd_open(_process_id(path))
    except OSError:  # it has just ended
        return True
    try:
        signal.pidfd_send_signal(process, signal.SIGUSR1)  # HAProxy's signal for a soft stop
        return bool(select.select([process], [], [], timeout)[0])
    finally:
        os.close(process)


def _process_id(path: Path) -> int:
    """Ask HAProxy for its process id. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(5)
        admin.connect(str(path))
        admin.sendall(b"show info\n")
        with admin.makefile("rb") as response:
            lines = response.read().decode("ascii", "replace").splitlines()
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    return int(facts["Pid"])
