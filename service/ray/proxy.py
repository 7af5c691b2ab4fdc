"""The HAProxy that Ray Serve starts, told to take no more. Imports nothing of Ray."""

import os
import select
import signal
import socket
from pathlib import Path

SOCKET = "RAY_SERVE_HAPROXY_SOCKET_PATH"
"""The variable by which Ray decides where HAProxy takes commands; `ray_environment` sets it."""


def close_proxy(seconds: float) -> bool | None:
    """Stop listening, answer what has been taken in, and close: whether that was done within so many seconds. None without a HAProxy."""
    named = Path(os.environ.get(SOCKET, ""))
    path = next(named.parent.glob(f"*/{named.name}"), None)  # in a folder for each node
    if path is None:
        return None
    try:
        process = os.pidfd_open(_process_at(path))
    except OSError:  # it has just ended
        return True
    try:
        signal.pidfd_send_signal(process, signal.SIGUSR1)  # its own signal for that
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)


def _process_at(path: Path) -> int:
    """HAProxy's process id, by its own word. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(5)
        admin.connect(str(path))
        admin.sendall(b"show info\n")
        with admin.makefile("rb") as answer:
            lines = answer.read().decode("ascii", "replace").splitlines()
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    return int(facts["Pid"])
