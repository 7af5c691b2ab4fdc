"""Process chunks with Ray Data, in one worker process per core, on this machine or on a cluster."""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import ray.data
from ray.exceptions import RayError

from cli.batch.worker import BatchWorker
from cli.errors import BatchInterrupted
from service.ray.cluster import ray_cluster
from weights.engines.options import EngineOptions


def process_chunks(folder: Path, chunks: Sequence[int], model: str | None, engine: EngineOptions) -> Iterator[int]:
    """Process each chunk in a worker process. Yield its number of images when its results are on disk."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the command shows its own
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with ray_cluster() as cores:
            numbers = ray.data.from_items([{"chunk": chunk} for chunk in chunks], override_num_blocks=len(chunks))
            results = numbers.map_batches(
                BatchWorker,
                fn_constructor_args=(str(folder.resolve()), model, engine),
                compute=ray.data.ActorPoolStrategy(size=max(1, min(cores, len(chunks)))),
                num_cpus=1,
                batch_size=1,
            )
            for row in results.iter_rows():
                yield int(row["images"])
    except RayError as error:
        raise BatchInterrupted(f"the run ended early: {_cause(error)} The same command continues it.") from error


def _cause(error: RayError) -> str:
    """Return the first exception in the tracebacks that Ray puts into a message."""
    first = re.search(r"^[\w.]*(?:Error|Exception)\b: .+", str(error), re.MULTILINE)
    return first[0].rstrip(".") + "." if first else f"{type(error).__name__}."
