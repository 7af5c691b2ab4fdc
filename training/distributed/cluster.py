"""Addresses of the worker processes that train together, from command-line options or from TF_CONFIG."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from training.errors import ConfigError

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]+):(\d{1,5})")
MAX_PORT = 65_535


@dataclass(frozen=True)
class Cluster:
    """The workers' addresses, in the same order on every worker. Worker 0 is the chief: it alone writes files."""

    addresses: tuple[str, ...]  # host:port
    index: int  # of this process

    def __post_init__(self) -> None:
        for address in self.addresses:
            match = _ADDRESS.fullmatch(address)
            if not match or not 0 < int(match[2]) <= MAX_PORT:
                raise ConfigError(f"workers: {address!r} is not HOST:PORT. List the addresses of all workers, separated by commas.")
        if len(set(self.addresses)) < len(self.addresses):
            raise ConfigError(f"workers: an address appears twice in {','.join(self.addresses)}. Each worker needs its own address.")
        if not 0 <= self.index < len(self.addresses):
            raise ConfigError(f"worker_index: {self.index} is not between 0 and {len(self.addresses) - 1}.")

    @classmethod
    def from_options(cls, workers: str | None, index: int | None, environment: Mapping[str, str]) -> "Cluster | None":
        """Read the cluster from the options, or from TF_CONFIG if there are none.

        Args:
            workers: HOST:PORT of all workers, separated by commas.
            index: Position of this process in that list. Default: JOB_COMPLETION_INDEX, which Kubernetes sets in a job with completionMode
                Indexed.
            environment: Environment variables.

        Returns:
            The cluster, or None if neither the options nor TF_CONFIG name one.

        Raises:
            ConfigError: The options or TF_CONFIG are invalid.
        """
        if workers is None:
            if index is not None:
                raise ConfigError("worker_index requires --workers, which lists the addresses of all workers.")
            return cls._from_tf_config(environment["TF_CONFIG"]) if environment.get("TF_CONFIG") else None
        completion_index = environment.get("JOB_COMPLETION_INDEX", "")
        if index is None and not completion_index.isdigit():
            raise ConfigError("worker_index: add --worker-index, the position of this process in --workers. The first position is 0.")
        addresses = tuple(address.strip() for address in workers.split(","))
        return cls(addresses, int(completion_index) if index is None else index)

    @classmethod
    def _from_tf_config(cls, text: str) -> "Cluster":
        """Parse {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}; a "chief" precedes the workers."""
        try:
            config = json.loads(text)
            jobs, task = config["cluster"], config["task"]
            chief, workers = jobs.get("chief", []), jobs.get("worker", [])
            index = int(task["index"]) + (len(chief) if task["type"] == "worker" else 0)
            supported = task["type"] in ("chief", "worker")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"TF_CONFIG: expected a cluster of workers and a task in it ({error!r}): {text[:200]}") from error
        if not supported:
            raise ConfigError(f"TF_CONFIG: the task type {task['type']!r} is not supported. Use 'worker', or 'chief' for one of them.")
        return cls((*chief, *workers), index)
