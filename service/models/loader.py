"""Load a version of the model folder within the memory limits."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from detector.engines.cores import CGROUP_ROOT, PROCESS_CGROUPS, cgroup_folders, usable_cores
from detector.errors import BoxwrightError, ModelError, SettingError
from detector.network.spec import ModelSpec
from service.models.loaded_model import LoadedModel, estimate_memory
from service.models.native_memory import release_in_background
from service.settings import Settings
from weights.engines.factory import Choice, choose_engine
from weights.engines.options import EngineOptions
from weights.formats.bounded_io import open_regular_file
from weights.formats.memory_entries import MAX_MEMORY_BYTES
from weights.formats.safetensors import MAX_HEADER_BYTES, ModelHeader, load_model, read_header
from weights.hub.resolve import ModelSource
from weights.repository.layout import StoredVersion
from weights.repository.snapshot import snapshot

logger = logging.getLogger("boxwright.models")

MODEL_SHARE = 0.5  # Share of the process's memory for loaded models, if no limit is set.

LOADING_FACTOR = 4
"""Peak memory while a model is loaded, as a multiple of its estimate. Measured: everyday 3.0, everyday-int8 3.1, YOLOv2 3.8."""

ASSUMED_MEMORY = 8 * 1024**3  # Memory of a machine on which Python cannot determine it (Windows).


class InsufficientMemory(ModelError):
    """The model needs more memory than is left. `needed` is the number of free bytes in the model budget that it needs."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


@dataclass(frozen=True)
class ModelLoader:
    """Loads versions with one engine and within memory limits."""

    options: EngineOptions
    budget: int  # bytes of all loaded models together
    process_limit: int = 1 << 62  # bytes of the process
    concurrent_sessions: bool = True  # prepare the engine for parallel calls

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Create the loader that the settings describe."""
        limit = available_memory()
        return cls(settings.engine_options, settings.max_model_bytes or int(MODEL_SHARE * limit), limit, settings.batch_size == 1)

    def load(self, version: StoredVersion, folder: Path, free_bytes: int) -> LoadedModel:
        """Read, check and load a version, and warm it up.

        Args:
            version: The version to load.
            folder: The model folder.
            free_bytes: What is left of the budget.

        Raises:
            InsufficientMemory: The model does not fit; raised before the weights are read.
            BoxwrightError: The file is not a valid model.
            OSError: The file cannot be read.
        """
        size = self._check_file(version, free_bytes)
        with snapshot(version.path, size) as copy:
            header = read_header(copy, display_path=version.path)
            choice, spec = self._choose(version, copy, header.spec)
            header = header._replace(spec=spec, quantization=header.quantization if choice.precision == "int8" else None)
            calls = self._parallel_calls(version, header, free_bytes)
            model = choice.adapt(load_model(copy, display_path=version.path))
        try:
            engine = choice.build(model, concurrent_sessions=self.concurrent_sessions)
            file = version.path.relative_to(folder).as_posix()
            loaded = LoadedModel.of(model, engine, name=version.name, version=str(version.number), file=file, max_concurrency=calls)
        except BoxwrightError as error:
            raise type(error)(f"{version.path}: {error}") from error
        except Exception as error:
            logger.exception("%s: the engine failed", version.path)
            raise ModelError(f"{version.path}: the engine cannot run this network ({type(error).__name__}). See the log.") from error
        release_in_background(loaded)
        return loaded

    def _choose(self, version: StoredVersion, copy: Path, spec: ModelSpec) -> tuple[Choice, ModelSpec]:
        """Choose engine and precision, and resize the spec. Raises SettingError, with the path, if the options do not suit this model."""
        try:
            return choose_engine(ModelSource(copy), self.options), spec.at_input_size(self.options.input_size)
        except SettingError as error:
            raise SettingError(f"{version.path}: {error}") from error

    def _parallel_calls(self, version: StoredVersion, header: ModelHeader, free_bytes: int) -> int:
        """Return how many parallel calls the free memory allows. Raises InsufficientMemory if it is too small for one."""
        max_calls = usable_cores() if self.concurrent_sessions else 1
        memory = {calls: estimate_memory(header.spec, header.quantization, calls) for calls in range(max_calls, 0, -1)}
        self._check_memory(version, memory[1], memory[min(2, max_calls)], free_bytes)
        return next(calls for calls, needed in memory.items() if needed <= free_bytes)

    def _check_file(self, version: StoredVersion, free_bytes: int) -> int:
        """Return the size of the file. Raises InsufficientMemory before it is copied into memory if its weights cannot fit."""
        with open_regular_file(version.path) as (_, size):
            weights = max(0, size - MAX_MEMORY_BYTES - MAX_HEADER_BYTES)
        self._check_memory(version, weights, weights, free_bytes)
        return size

    def _check_memory(self, version: StoredVersion, needed: int, loaded_bytes: int, free_bytes: int) -> None:
        if needed > free_bytes:
            raise InsufficientMemory(
                f"{version.path}: the model needs {_mib(needed)}, but only {_mib(max(0, free_bytes))} of the {_mib(self.budget)} for all "
                "models are free. Remove a model, or raise BOXWRIGHT_MAX_MODEL_BYTES.",
                needed,
            )
        peak, used = LOADING_FACTOR * loaded_bytes, self.budget - free_bytes
        if used + peak > self.process_limit:
            raise InsufficientMemory(
                f"{version.path}: loading the model temporarily needs {_mib(peak)}. The process may use {_mib(self.process_limit)}, and "
                f"other models use {_mib(used)}. Remove a model, or give the service more memory.",
                peak + self.budget - self.process_limit,
            )


def available_memory(cgroup: Path = CGROUP_ROOT, member: Path = PROCESS_CGROUPS) -> int:
    """Return the bytes that the process may use: the machine's memory or the lowest cgroup limit (version 1 or 2)."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else ASSUMED_MEMORY
    files = (group / name for group in cgroup_folders("memory", cgroup, member) for name in ("memory.max", "memory.limit_in_bytes"))
    limits = (file.read_text(encoding="ascii").strip() for file in files if file.is_file())
    return min([machine, *(int(limit) for limit in limits if limit != "max")])


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
