"""All that a run needs to go on to bitwise the same weights, in one file that appears when it is whole. No pickle: safetensors.

arrays      by name, as `Trainer.state` gives them
state       JSON: step, best value, patience, ...
sha256      of the state and of the arrays: name, zero byte, bytes, in the order of their names
"""

import hashlib
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

KEPT = 2
"""Checkpoints in a run folder: the newest, and the one before in case the newest is damaged."""

_log = logging.getLogger("boxwright.training")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A moment of a run."""

    state: dict[str, Any]  # what JSON can say; has "step"
    arrays: Mapping[str, NDArray[Any]]


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write it to the folder as step-<number>.safetensors and remove those before the last two. Raises OSError."""
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in sorted(checkpoint.arrays.items())}
    state = json.dumps(checkpoint.state, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.state['step']:08d}.safetensors"
    with atomic_write(path) as file:
        file.write(save(arrays, {"state": state, "sha256": _digest(state, arrays)}))
    for old in _paths(folder)[KEPT:]:
        old.unlink()
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises CheckpointError where the file is damaged or cut short."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or cut short ({error}).") from error
    if metadata.get("sha256") != _digest(metadata.get("state", ""), arrays):
        raise CheckpointError(f"{path}: damaged: its contents are not those that were saved.")
    return Checkpoint(json.loads(metadata["state"]), arrays)


def newest_checkpoint(folder: Path) -> Checkpoint:
    """The newest one that is whole; a damaged one is passed over, with a warning. Raises CheckpointError where there is none."""
    for path in _paths(folder):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            _log.warning("%s The checkpoint before it is used.", error)
    raise CheckpointError(f"{folder}: there is no checkpoint that can be read. Start the run anew.")


def _paths(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _digest(state: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(state.encode())
    for name, array in arrays.items():
        digest.update(name.encode() + b"\0")
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
