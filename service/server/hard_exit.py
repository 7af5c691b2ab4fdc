"""End the process at a fixed time, even if threads are busy in native code that cannot be interrupted."""

import logging
import os
import signal
import threading

logger = logging.getLogger("boxwright.service")

KILL_MARGIN = 0.5  # Seconds between the exit by the timer thread and the kernel's signal.


def arm_kill(seconds: float) -> None:
    """Have the kernel kill the process after this time. A signal handler may call this, because it takes no lock."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def start_exit_timer(seconds: float) -> None:
    """End the process after this time with exit code 0 and a log line. `arm_kill` covers the case that the log blocks."""
    timer = threading.Timer(seconds, _exit)
    timer.daemon = True
    timer.start()


def _exit() -> None:
    logger.error("the grace time is over; the process ends although %d threads are still running", threading.active_count() - 1)
    os._exit(0)
