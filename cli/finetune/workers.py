"""Who trains together with this process, by options or TF_CONFIG, and how one of several ends."""

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


def join_group(workers: str | None, index: int | None, *, alone: bool) -> "ProcessGroup":
    """This process alone, or with the others, when all of them are there. TensorFlow is imported not before here.

    alone: what is asked for is for one process. Raises ConfigError, TrainingError, typer.BadParameter.
    """
    from training.distributed.cluster import Cluster

    cluster = Cluster.from_options(workers, index, os.environ)
    if cluster is None or len(cluster.addresses) == 1:
        from training.distributed.process_group import SINGLE_PROCESS

        return SINGLE_PROCESS
    if alone:
        raise typer.BadParameter("--find-learning-rate is for one worker; give no --workers.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what TensorFlow writes of a worker that is gone, we say in a sentence
    from training.distributed.multi_worker import MultiWorkerGroup

    typer.echo(f"worker {cluster.index} of {', '.join(cluster.addresses)}: waiting for the others", err=True)
    return MultiWorkerGroup.connect(cluster)


@contextmanager
def ended_at_once(group: "ProcessGroup") -> Iterator[None]:
    """One of several workers ends without TensorFlow's tidying up, which was seen to wait for ever for a worker that is gone."""
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
    except (BoxwrightError, OSError):  # as `cli.main` ends them
        code = 2
        raise
