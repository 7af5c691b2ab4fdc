"""Which processes train together, and which of them this one is: from options, or from TF_CONFIG as TensorFlow's own tools set it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from training.errors import ConfigError

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]+):(\d{1,5})")
HIGHEST_PORT = 65_535


@dataclass(frozen=True)
class Cluster:
    """Workers by address, the same in the same order for all of them. Number 0 is the chief, which alone writes."""

    addresses: tuple[str, ...]  # host:port
    index: int  # of this process

    def __post_init__(self) -> None:
        for address in self.addresses:
            match = _ADDRESS.fullmatch(address)
            if not match or not 0 < int(match[2]) <= HIGHEST_PORT:
                raise ConfigError(f"workers: {address!r} is no HOST:PORT; give those of all workers, separated by commas.")
        if len(set(self.addresses)) < len(self.addresses):
            raise ConfigError(f"workers: an address is there twice in {','.join(self.addresses)}; each worker has its own.")
        if not 0 <= self.index < len(self.addresses):
            raise ConfigError(f"worker_index: {self.index} is none of 0 to {len(self.addresses) - 1}, the {len(self.addresses)} workers.")

    @classmethod
    def of(cls, workers: str | None, index: int | None, environment: Mapping[str, str]) -> "Cluster | None":
        """What the options say, or else TF_CONFIG; None where neither says anything. Raises ConfigError.

        A worker without an index is the one that JOB_COMPLETION_INDEX counts, as in a Kubernetes job with completionMode Indexed.
        """
        if workers is None:
            if index is not None:
                raise ConfigError("worker_index: it says which of --workers this one is; give those too.")
            return cls._of_tf_config(environment["TF_CONFIG"]) if environment.get("TF_CONFIG") else None
        counted = environment.get("JOB_COMPLETION_INDEX", "")
        if index is None and not counted.isdigit():
            raise ConfigError("worker_index: --workers names all of them; add --worker-index, 0 for the first, to say which this one is.")
        addresses = tuple(address.strip() for address in workers.split(","))
        return cls(addresses, int(counted) if index is None else index)

    @classmethod
    def _of_tf_config(cls, text: str) -> "Cluster":
        """{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}; a "chief" comes before the workers."""
        try:
            told = json.loads(text)
            jobs, task = told["cluster"], told["task"]
            chief, workers = jobs.get("chief", []), jobs.get("worker", [])
            place = int(task["index"]) + (len(chief) if task["type"] == "worker" else 0)
            known = task["type"] in ("chief", "worker")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"TF_CONFIG: no cluster of workers and a task among them ({error!r}): {text[:200]}") from error
        if not known:
            raise ConfigError(f"TF_CONFIG: this task is a {task['type']!r}; Boxwright trains on workers, of which one may be called chief.")
        return cls((*chief, *workers), place)
