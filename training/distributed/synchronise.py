"""Give all workers the same plan and the same weights, and check that they have the same data."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from safetensors.numpy import load, save

from detector.messages import count_of
from detector.network.spec import Model
from training.config.options import Config
from training.config.task import Task
from training.distributed.process_group import ProcessGroup
from training.errors import ConfigError, TrainingError
from weights.formats.safetensors import load_memory, load_model, save_model


@dataclass(frozen=True)
class RunPlan:
    """All inputs of a run."""

    task: Task
    config: Config
    model: Model  # to start from
    memory: Mapping[str, bytes] | None = None  # entries of the model's memory


class Stateful(Protocol):
    """An object with arrays that can be read and replaced, such as `training.run.trainer.Trainer`."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all arrays."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Replace all arrays."""


def broadcast_plan(group: ProcessGroup, make_plan: Callable[[], RunPlan]) -> RunPlan:
    """Call `make_plan` on the chief and return its result on all workers. Raises what `make_plan` raises."""
    if group.count == 1:
        return make_plan()
    plan = make_plan() if group.is_chief else None
    task, config = group.broadcast(lambda: [asdict(plan.task), plan.config.model_dump()] if plan else None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        if plan:
            save_model(plan.model, path, memory=plan.memory)
        data = group.broadcast_bytes(path.read_bytes)
        if plan:
            return plan
        path.write_bytes(data)
        return RunPlan(Task(**task), Config.of(config), load_model(path), load_memory(path))


def check_same_options(chief_config: Config, config: Config) -> None:
    """Raise ConfigError if this worker's options differ from the chief's."""
    local, chief = config.model_dump(), chief_config.model_dump()
    for name in local:
        if local[name] != chief[name]:
            raise ConfigError(
                f"{name}: worker 0 has {chief[name]!r}, this worker has {local[name]!r}. "
                "Give the same options to all workers, or only to worker 0."
            )


def check_same_data(group: ProcessGroup, config: Config, fingerprints: Mapping[str, Any]) -> None:
    """Check that the batch is large enough for all workers and that they have the chief's data.

    Args:
        group: All workers.
        config: Options of the run.
        fingerprints: `data_fingerprint` of each image set.

    Raises:
        ConfigError: There are more workers than images in a batch.
        TrainingError: This worker's data differ from the chief's.
    """
    if group.count == 1:
        return
    if group.count > config.batch_size:
        raise ConfigError(
            f"batch_size: {count_of(config.batch_size, 'image')} per step, over all workers, cannot be divided among {group.count} workers."
        )
    chief_fingerprints = group.broadcast(lambda: fingerprints)
    for name, fingerprint in fingerprints.items():
        chief = chief_fingerprints[name]
        if fingerprint != chief:
            raise TrainingError(
                f"set {name}: the data of this worker ({_counts(fingerprint)}) differ from those of worker 0 ({_counts(chief)}). "
                "If these numbers are equal, names, boxes or image files differ. Every worker needs the same data."
            )


def _counts(fingerprint: Mapping[str, Any]) -> str:
    return f"{count_of(fingerprint['photos'], 'image')} with {count_of(fingerprint['boxes'], 'box')}"


def broadcast_arrays(group: ProcessGroup, trainer: Stateful) -> None:
    """Give every worker the chief's arrays, bit for bit."""
    if group.count > 1:
        trainer.restore(load(group.broadcast_bytes(lambda: save(trainer.state()))))
