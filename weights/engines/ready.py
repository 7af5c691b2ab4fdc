"""From what a person calls a model to an engine that is ready to run, by the shortest way there is."""

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from threading import Thread
from typing import NamedTuple

from detector.engines import Engine
from detector.spec import Model, ModelDescription
from weights.engines.factory import EngineName, load_engine
from weights.hub.partial_file import Progress
from weights.hub.resolve import Source, find

SMALL = 2**22
"""Bytes of a model's file up to which its engine is built sooner than looked for."""


class Ready(NamedTuple):
    """An engine, what there is to say of its model, and what is left to do when there is time for it."""

    facts: ModelDescription
    engine: Engine
    keep: Callable[[], object]
    """Keeps the engine on disk for the next start, unless it lies there already, or shall not; and readies it for calls beside one
    another, if they were asked for. It takes as long as building."""


def load_ready(name_or_file: str | None, engine: EngineName = "auto", *, progress: Progress | None = None, lanes: bool = False) -> Ready:
    """The engine of the model in that file, or of that name, kept from an earlier start or built now. lanes: calls
    beside one another are to be expected.

    Raises what `resolve.load` and `engines.load_engine` raise.
    """
    source = find(name_or_file, progress=progress)
    if engine not in ("auto", "onnxruntime") or not _keeps(source):
        model = source.load()
        built = load_engine(model, engine)
        return Ready(model, built, partial(_add_lane, model, built) if lanes else _nothing)

    from weights.engines import disk_cache as kept_engines

    content = source.content()
    key = kept_engines.key_of(content)
    if (kept := kept_engines.read(key)) is not None:
        return Ready(kept, kept.engine, _nothing)
    # what builds the graph is imported beside the checksum of the model's arrays, which needs no interpreter
    Thread(target=import_module, args=("detector.onnx.graph",), daemon=True).start()
    model = source.load(content)
    built = load_engine(model, engine)
    return Ready(model, built, partial(_keep, key, model, built if lanes else None))


def _keep(key: str, model: Model, built: Engine | None) -> None:
    """Keep the engine, and give the one that was built the kept one's session for calls beside one another, which takes no memory."""
    from detector.engines.onnxruntime import OnnxEngine
    from weights.engines import disk_cache as kept_engines

    kept_engines.keep(key, model)
    if not isinstance(built, OnnxEngine):
        return
    if (kept := kept_engines.read(key)) is not None:
        built.single_threaded_session = kept.engine.single_threaded_session
    else:
        built.add_single_threaded_session(model)


def _add_lane(model: Model, built: Engine) -> None:
    from detector.engines.onnxruntime import OnnxEngine

    if isinstance(built, OnnxEngine):
        built.add_single_threaded_session(model)


def _nothing() -> None:
    """There is nothing left to do."""


def _keeps(source: Source) -> bool:
    if os.environ.get("BOXWRIGHT_ENGINES", "").strip() == "0" or source.path.stat().st_size <= SMALL:
        return False

    from detector.engines.onnxruntime import can_cache

    return can_cache()
