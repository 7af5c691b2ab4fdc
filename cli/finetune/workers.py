"""Join a group of training processes, and exit without waiting for lost ones."""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from detector.errors import BoxwrightError

if TYPE_CHECKING:
    from training.distributed.process_group import ProcessGroup


def join_workers(workers: str | None, index: int | None, *, single_process: bool) -> "ProcessGroup":
    """Return a group of this process alone, or of all workers, after all of them have connected.

    Args:
        workers: The option --workers; None: read TF_CONFIG.
        index: The option --worker-index.
        single_process: The requested operation does not support several workers.

    Raises:
        ConfigError: The options or TF_CONFIG are invalid.
        TrainingError: The other workers do not answer.
        typer.BadParameter: There are several workers, and `single_process` is set.
    """
    from training.distributed.cluster import Cluster

    cluster = Cluster.from_options(workers, index, os.environ)
    if cluster is None or len(cluster.addresses) == 1:
        from training.distributed.process_group import SINGLE_PROCESS

        return SINGLE_PROCESS
    if single_process:
        raise typer.BadParameter("--find-learning-rate uses one worker. Leave out --workers.")
    from training.distributed.multi_worker import MultiWorkerGroup

    typer.echo(f"Worker {cluster.index} of {', '.join(cluster.addresses)}: waiting for the other workers.", err=True)
    return MultiWorkerGroup.connect(cluster)


@contextmanager
def exit_without_cleanup(group: "ProcessGroup") -> Iterator[None]:
    """End one of several workers without TensorFlow's cleanup, which can wait forever for a lost worker."""
    code = 1

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    if group.count > 1:
        atexit.register(end)
    try:
        yield
        code = 0
    except typer.Exit as exit_request:
        code = exit_request.exit_code
        raise
    except (BoxwrightError, OSError):  # `cli.main` ends with the same code
        code = 2
        raise
