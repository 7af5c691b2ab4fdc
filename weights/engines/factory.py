"""Choose and create an engine for a model's name or file, or for a `Model`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

from detector import engines
from detector.engines import Engine
from detector.engines.support import Device, Precision, installed_engines, unsupported_reason
from detector.errors import MissingExtra, SettingError
from detector.network.spec import Model, ModelDescription
from weights.engines.options import EngineKind, EngineOptions

if TYPE_CHECKING:
    from detector.engines.openvino import OpenvinoEngine
    from weights.hub.partial_file import ProgressCallback
    from weights.hub.resolve import ModelSource

MIN_CACHED_FILE_BYTES = 2**22  # The engine of a model file up to this size is built faster than it is looked up in the cache.


def build_engine(
    model: Model,
    name: EngineKind = "auto",
    *,
    device: Device = "auto",
    precision: Precision | None = None,
    threads: int | None = None,
    concurrent_sessions: bool = False,
) -> Engine:
    """Build an engine that holds the model; see `detector.engines.load_engine` for device and threads.

    Args:
        model: The model to run.
        name: The engine's name; "auto" is onnxruntime if it suits device and precision.
        device: The device that runs the network.
        precision: None is that of the model.
        threads: Threads of one call.
        concurrent_sessions: Prepare the engine for parallel single-threaded calls, if it can.

    Raises:
        SettingError: The name is unknown, or the engine does not support the precision or the device.
        MissingExtra: The engine's packages are not installed.
        NetworkError: tensornets has no such network.
    """
    if name not in get_args(EngineKind):
        raise SettingError(f"there is no engine {name!r}; choose one of {', '.join(get_args(EngineKind))}.")
    if name == "tensornets":
        if reason := unsupported_reason(name, precision or "float32", device):
            raise SettingError(f"{reason}.")
        from weights.formats.tensornets.engine import TensornetsEngine

        return TensornetsEngine.of(model)
    return engines.load_engine(model, name, device=device, precision=precision, threads=threads, concurrent_sessions=concurrent_sessions)


@dataclass(frozen=True)
class Choice:
    """A file of the model, the engine that runs it, and the precision."""

    source: "ModelSource"
    engine: EngineKind
    precision: Precision
    options: EngineOptions

    def load(self, content_key: str | None = None) -> Model:
        """Load the model with the chosen precision and input size. Raises ModelError, and SettingError for a wrong input size."""
        return self.adapt(self.source.load(content_key))

    def adapt(self, model: Model) -> Model:
        """Return the loaded model with the chosen precision and input size. Raises SettingError for a wrong input size."""
        resized = model.at_input_size(self.options.input_size)
        return resized if self.precision == "int8" else replace(resized, quantization=None)

    def build(self, model: Model, *, threads: int | None = None, concurrent_sessions: bool = False) -> Engine:
        """Build the engine for the loaded model. Raises as `build_engine` does."""
        return build_engine(
            model,
            self.engine,
            device=self.options.device,
            precision=self.precision,
            threads=threads,
            concurrent_sessions=concurrent_sessions,
        )


def choose_engine(source: "ModelSource", options: EngineOptions, *, raced: bool = False) -> Choice:
    """Choose the engine and the precision for a model.

    Args:
        source: The file that the user named.
        options: The user's options.
        raced: Use the winner of an earlier race. Otherwise "auto" is the suitable engine that starts fastest.

    Returns:
        The choice.

    Raises:
        SettingError: No engine suits the options, or the model has no 8-bit version.
        ModelFileError: The file is damaged.
    """
    choices = possible_choices(source, options, raced=raced)
    if raced and len(choices) > 1 and _may_cache(source, options.device):
        from weights.engines.race import read_winner

        return read_winner(choices) or choices[0]
    return choices[0]


def possible_choices(source: "ModelSource", options: EngineOptions, *, raced: bool = True) -> list[Choice]:
    """Return the combinations of engine and precision that suit the options, the fastest to start first.

    Args:
        source: The file that the user named.
        options: The user's options.
        raced: Include engines that start slower than onnxruntime, even if onnxruntime suits the options.

    Raises:
        SettingError, ModelFileError: As `choose_engine` raises them.
    """
    from weights.engines.precision import Versions

    versions = Versions.of(source)
    allowed = versions.allowed(options.precision)
    names = (options.engine,) if options.engine != "auto" else installed_engines()
    groups = [names] if raced else [("onnxruntime",) if "onnxruntime" in names else names, names]
    precisions = [allowed] if options.precision not in (None, "auto") or "float32" in allowed else [allowed, ("float32",)]
    for engine_names in groups:
        for precision_choices in precisions:  # TensorFlow computes the rounded kernels of an 8-bit model in float32
            pairs = [
                (name, each) for name in engine_names for each in precision_choices if not unsupported_reason(name, each, options.device)
            ]
            if pairs:
                return [Choice(versions.sources[each], cast(EngineKind, name), each, options) for name, each in pairs]
    raise SettingError(f"{unsupported_reason(names[-1], allowed[0], options.device)}.")


class PreparedEngine(NamedTuple):
    """An engine with the description of its model, and work to do after the start."""

    facts: ModelDescription
    engine: Engine
    persist: Callable[[], object]
    """Write the engine to the cache for the next start, and prepare it for parallel calls if requested.

    It does nothing for an engine that came from the cache, and it does not write an engine that must not be cached. With
    onnxruntime, writing takes as long as building the engine.
    A thread that calls it must not be a daemon, which would be killed when the main thread ends."""
    race: Callable[[], object]
    """Measure which of several engines is fastest, and store the winner for the next start. It runs them in separate processes.

    It does nothing if there is only one choice, or the winner is known."""


def prepare_engine(
    name_or_file: str | None,
    options: EngineOptions | None = None,
    *,
    on_progress: "ProgressCallback | None" = None,
    concurrent_sessions: bool = False,
    raced: bool = False,
) -> PreparedEngine:
    """Find a model and prepare its engine: read it from the cache if an earlier start put it there, or else build it.

    Args:
        name_or_file: A model's name or file; see `weights.hub.resolve.find_model`.
        options: Engine, device, precision and input size. None: the defaults.
        on_progress: Called during a download.
        concurrent_sessions: Prepare the engine for parallel single-threaded calls.
        raced: Use the winner of an earlier race of the engines. Meant for long-running processes.

    Raises:
        UnknownModel, FetchError, ModelError: As `weights.hub.resolve.resolve_model` raises them.
        SettingError: No engine suits the options, or the model does not have that input size.
        MissingExtra: The engine's packages are not installed.
    """
    from weights.hub.resolve import find_model  # imported late, because other modules import this one only for its types

    options = options or EngineOptions()
    if options.engine == "openvino" and "openvino" not in installed_engines():
        raise MissingExtra("engine 'openvino' needs openvino, which is not installed. Install the extra 'openvino'.")
    source = find_model(name_or_file, on_progress=on_progress)
    choice = choose_engine(source, options, raced=raced)
    race = partial(_race, source, options) if raced else _do_nothing
    if choice.engine not in ("onnxruntime", "openvino") or not _may_cache(choice.source, options.device):
        model = choice.load()
        built = choice.build(model)
        add = partial(_add_concurrent_session, model, built, options.device) if concurrent_sessions else _do_nothing
        return PreparedEngine(model, built, add, race)

    from weights.engines import disk_cache

    content = choice.source.content_key()
    key = disk_cache.engine_key(_cached_content(choice, content))
    if (cached := disk_cache.read_engine(key, concurrent_sessions=concurrent_sessions)) is not None:
        return PreparedEngine(cached, cached.engine, _do_nothing, race)
    # this import runs while the model's arrays are hashed, because hashing releases the GIL
    Thread(target=import_module, args=("detector.onnx.graph",), daemon=True).start()
    model = choice.load(content)
    built = choice.build(model)
    return PreparedEngine(model, built, partial(_persist, key, model, built, concurrent_sessions=concurrent_sessions), race)


def _cached_content(choice: Choice, content: str) -> str:
    """Return the key of everything that a cached engine depends on, except code, libraries and processor."""
    parts = [content]
    if choice.options.input_size is not None:
        parts.append(f"input size {choice.options.input_size}")
    if choice.source.name is not None:
        parts.append(f"name {choice.source.name}")
    if choice.options.precision is not None:
        parts.append(choice.precision)
    if choice.engine == "openvino":
        from detector.engines.openvino import openvino_fingerprint

        parts += [openvino_fingerprint(), choice.precision]
    return " ".join(parts)


def _persist(key: str, model: Model, built: Engine, *, concurrent_sessions: bool) -> None:
    """Cache the engine. Then give `built` a single-threaded session, if requested.

    The session comes from onnxruntime's cached engine if possible, because that one shares its memory with the file.
    """
    from detector.engines.onnxruntime import OnnxEngine
    from weights.engines import disk_cache

    disk_cache.persist_engine(key, model, cast("OnnxEngine | OpenvinoEngine", built))
    if not concurrent_sessions:
        return
    if isinstance(built, OnnxEngine) and (cached := disk_cache.read_engine(key)) is not None and isinstance(cached.engine, OnnxEngine):
        built.single_threaded_session = cached.engine.single_threaded_session
    else:
        _add_concurrent_session(model, built, "auto")


def _add_concurrent_session(model: Model, built: Engine, device: Device) -> None:
    from detector.engines.onnxruntime import OnnxEngine

    if isinstance(built, OnnxEngine):
        built.add_single_threaded_session(model)
    elif built.name == "openvino":
        cast("OpenvinoEngine", built).add_single_threaded_session(model, device)


def _race(source: "ModelSource", options: EngineOptions) -> None:
    choices = possible_choices(source, options)
    if len(choices) > 1 and _may_cache(source, options.device):
        from weights.engines.race import race_and_store

        race_and_store(choices)


def _do_nothing() -> None:
    pass


def _may_cache(source: "ModelSource", device: Device) -> bool:
    if os.environ.get("BOXWRIGHT_ENGINES", "").strip() == "0" or source.path.stat().st_size <= MIN_CACHED_FILE_BYTES:
        return False
    if device not in ("auto", "cpu"):
        return False

    from detector.engines.onnxruntime import can_cache

    return can_cache(device)
