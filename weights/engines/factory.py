"""Create an engine by name, from a `Model` or from a model's name or file.

The engine names are those of `detector.engines` and "tensornets", the original graph, which `detector` does not know.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from detector import engines
from detector.engines import Engine
from detector.errors import SettingError
from detector.spec import Model, ModelDescription

if TYPE_CHECKING:
    from weights.hub.partial_file import ProgressCallback
    from weights.hub.resolve import ModelSource

EngineKind = Literal["auto", "onnxruntime", "tensorflow", "tensornets"]

MIN_CACHED_FILE_BYTES = 2**22
"""The engine of a model file up to this size is built faster than it is looked up in the cache."""


def build_engine(model: Model, name: EngineKind = "auto", *, threads: int | None = None, concurrent_sessions: bool = False) -> Engine:
    """Build an engine that holds the model.

    Args:
        model: The model to run.
        name: The engine's name; "auto" is onnxruntime.
        threads: Threads of one call; see `detector.engines.load_engine`.
        concurrent_sessions: Prepare onnxruntime for parallel single-threaded calls.

    Returns:
        The engine.

    Raises:
        SettingError: The name is unknown.
        MissingExtra: The engine's packages are not installed.
        NetworkError: tensornets has no such network.
    """
    if name not in get_args(EngineKind):
        raise SettingError(f"there is no engine {name!r}; choose one of {', '.join(get_args(EngineKind))}.")
    if name == "tensornets":
        from weights.formats.tensornets.engine import TensornetsEngine

        return TensornetsEngine.of(model)
    return engines.load_engine(model, name, threads=threads, concurrent_sessions=concurrent_sessions)


class PreparedEngine(NamedTuple):
    """An engine with the facts of its model, and work to do after the start."""

    facts: ModelDescription
    engine: Engine
    persist: Callable[[], object]
    """Write the engine to the cache for the next start, and prepare it for parallel calls if requested.

    It does nothing for an engine that came from the cache or must not be cached. Otherwise it takes as long as building the engine.
    A thread that calls it must not be a daemon, which would be killed when the main thread ends."""


def prepare_engine(
    name_or_file: str | None,
    engine: EngineKind = "auto",
    *,
    on_progress: "ProgressCallback | None" = None,
    concurrent_sessions: bool = False,
) -> PreparedEngine:
    """Find a model and prepare its engine: read it from the cache if an earlier start put it there, or else build it.

    Args:
        name_or_file: A model's name or file; see `weights.hub.resolve.find_model`.
        engine: The engine's name.
        on_progress: Called during a download.
        concurrent_sessions: Prepare onnxruntime for parallel single-threaded calls.

    Returns:
        The engine and the facts of its model.

    Raises:
        UnknownModel, FetchError, ModelError: As `weights.hub.resolve.resolve_model` raises them.
        MissingExtra: The engine's packages are not installed.
    """
    from weights.hub.resolve import find_model  # here, because settings and options import this module for EngineKind only

    source = find_model(name_or_file, on_progress=on_progress)
    if engine not in ("auto", "onnxruntime") or not _is_cacheable(source):
        model = source.load()
        built = build_engine(model, engine)
        return PreparedEngine(model, built, partial(_add_concurrent_session, model, built) if concurrent_sessions else _do_nothing)

    from weights.engines import disk_cache

    content = source.content_key()
    key = disk_cache.engine_key(content)
    if (cached := disk_cache.read_engine(key)) is not None:
        return PreparedEngine(cached, cached.engine, _do_nothing)
    # this import overlaps with hashing the model's arrays, which does not need the interpreter lock
    Thread(target=import_module, args=("detector.onnx.graph",), daemon=True).start()
    model = source.load(content)
    built = build_engine(model, engine)
    return PreparedEngine(model, built, partial(_persist, key, model, built if concurrent_sessions else None))


def _persist(key: str, model: Model, built: Engine | None) -> None:
    """Cache the engine. Then give `built` the cached engine's single-threaded session, which shares its memory with the file."""
    from detector.engines.onnxruntime import OnnxEngine
    from weights.engines import disk_cache

    disk_cache.persist_engine(key, model)
    if not isinstance(built, OnnxEngine):
        return
    if (cached := disk_cache.read_engine(key)) is not None:
        built.single_threaded_session = cached.engine.single_threaded_session
    else:
        built.add_single_threaded_session(model)


def _add_concurrent_session(model: Model, built: Engine) -> None:
    from detector.engines.onnxruntime import OnnxEngine

    if isinstance(built, OnnxEngine):
        built.add_single_threaded_session(model)


def _do_nothing() -> None:
    pass


def _is_cacheable(source: "ModelSource") -> bool:
    if os.environ.get("BOXWRIGHT_ENGINES", "").strip() == "0" or source.path.stat().st_size <= MIN_CACHED_FILE_BYTES:
        return False

    from detector.engines.onnxruntime import can_cache

    return can_cache()
