"""Checkpoints: the complete state of a run in one safetensors file. A resumed run reaches the same weights, bit for bit.

arrays      by name, as `Trainer.state` returns them
state       JSON: the fields of `TrainingState`
sha256      of the state and of the arrays: name, zero byte, content, sorted by name
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from training.errors import CheckpointError
from weights.atomic_files import atomic_write
from weights.formats.safetensors_header import arrays_digest

MAX_CHECKPOINTS = 2  # Checkpoints in a run folder. The previous one is used if the newest is damaged.

logger = logging.getLogger("boxwright.training")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after a step."""

    state: dict[str, Any]  # serialisable as JSON; has "step"
    arrays: Mapping[str, NDArray[Any]]


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write step-<number>.safetensors and delete all but the newest MAX_CHECKPOINTS. Raises OSError."""
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in sorted(checkpoint.arrays.items())}
    state = json.dumps(checkpoint.state, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.state['step']:08d}.safetensors"
    with atomic_write(path) as file:
        file.write(save(arrays, {"state": state, "sha256": arrays_digest(arrays, state)}))
    for outdated in _newest_first(folder)[MAX_CHECKPOINTS:]:
        outdated.unlink()
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises CheckpointError if the file is damaged or truncated."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: the checkpoint is damaged or truncated ({error}).") from error
    if metadata.get("sha256") != arrays_digest(arrays, metadata.get("state", "")):
        raise CheckpointError(f"{path}: the checkpoint is damaged: its checksum does not match its content.")
    return Checkpoint(json.loads(metadata["state"]), arrays)


def newest_checkpoint(folder: Path) -> Checkpoint:
    """Read the newest intact checkpoint and log a warning for each damaged one. Raises CheckpointError if none is intact."""
    for path in _newest_first(folder):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            logger.warning("%s The previous checkpoint is used.", error)
    raise CheckpointError(f"{folder}: no checkpoint can be read. Start a new run.")


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)
