"""A process for each core, of this machine or of a cluster, and Ray Data that gives them chunk after chunk."""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import ray.data
from ray.exceptions import RayError

from cli.batch.errors import Interrupted
from cli.batch.worker import Worker
from service.ray.cluster import ray_cluster
from weights.engines.factory import EngineName


def answered(folder: Path, chunks: Sequence[int], model: str | None, engine: EngineName) -> Iterator[int]:
    """How many photos, each time that some more are on the disk. Of all that is under way, no more than a chunk for each process."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # there is one
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with ray_cluster() as cores:
            numbers = ray.data.from_items([{"chunk": chunk} for chunk in chunks], override_num_blocks=len(chunks))
            answers = numbers.map_batches(
                Worker,
                fn_constructor_args=(str(folder.resolve()), model, engine),
                compute=ray.data.ActorPoolStrategy(size=max(1, min(cores, len(chunks)))),
                num_cpus=1,
                batch_size=1,
            )
            for row in answers.iter_rows():
                yield int(row["photos"])
    except RayError as error:
        raise Interrupted(f"the run ended early: {_cause(error)} What is done is kept: the same command goes on.") from error


def _cause(error: RayError) -> str:
    """What came first, of the tracebacks that Ray packs into an error's words."""
    first = re.search(r"^[\w.]*(?:Error|Exception)\b: .+", str(error), re.MULTILINE)
    return first[0].rstrip(".") + "." if first else f"{type(error).__name__}."
