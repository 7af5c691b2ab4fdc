"""tensornets 0.4.6 on a TensorFlow that has moved on since (2.21, with Keras 3).

It misses three things, which stand in while it is imported:

    tensorflow.python.keras.applications.imagenet_utils   with decode_predictions, which nobody calls here
    tensorflow.python.keras.utils.data_utils              with get_file, in whose place ours is put
    tf_keras.legacy_tf_layers                             package tf-keras, where it lies under tf_keras.src now

Nothing happens before `import_tensornets` is called. Afterwards the stand-ins are gone from `sys.modules` again; what remains are
tensornets, tf_keras and the modules of TensorFlow that they import.

From then on two functions of tensornets are ours, so that its `pretrained()` neither downloads by itself nor unpickles: `get_file` asks
the `Fetch` of the moment (see `supplied`), `parse_weights` is `tensornets_npz.read_npz`.
"""

import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from detector.errors import MissingExtra, UnknownModel
from detector.shapes import Array
from weights.formats.tensornets.npz import read_npz
from weights.hub import fetch
from weights.hub.catalogue import entries

Fetch = Callable[[str], Path]
"""A file's name at tensornets ("ref_yolo_v2_voc.npz") -> the file, which is trusted."""

_lock = threading.Lock()


def import_tensornets() -> ModuleType:
    """The package tensornets. Raises MissingExtra where it, TensorFlow or tf-keras is not installed, or where they do not fit."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # before TensorFlow comes, as in detector.keras_model
    with _lock:
        try:
            tensornets = sys.modules.get("tensornets") or _import()
        except ImportError as error:
            raise MissingExtra(f"tensornets cannot be imported ({error}): pip install 'boxwright[train]'.") from error
        for module in ("tensornets.pretrained", "tensornets.utils"):  # each has a name of its own for them
            vars(sys.modules[module]).update(get_file=_get_file, parse_weights=_parse_weights)
    return tensornets


def fetched(file: str) -> Path:
    """That file of tensornets' from our catalogue: verified, and pulled if it is not in the cache yet.

    Raises UnknownModel for a file that is not in the catalogue, and what `weights.hub.fetch.pull` raises.
    """
    names = {entry.file: name for name, entry in entries().items() if entry.format == "tensornets"}
    if file not in names:
        raise UnknownModel(f"tensornets asks for {file}, which the catalogue does not know how to verify; it has {', '.join(names)}.")
    return fetch.pull(names[file])


_fetch: ContextVar[Fetch] = ContextVar("fetch", default=fetched)


@contextmanager
def supplied(fetch: Fetch) -> Iterator[None]:
    """Within, tensornets gets its files from `fetch`."""
    token = _fetch.set(fetch)
    try:
        yield
    finally:
        _fetch.reset(token)


@contextmanager
def quiet() -> Iterator[None]:
    """Within, silence about what tensornets does in an old way: four known messages, and no other."""
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_news)
    try:
        with warnings.catch_warnings():
            for message, category in _OLD_WAYS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        logger.removeFilter(_is_news)


_OLD_WAYS: tuple[tuple[str, type[Warning]], ...] = (
    ("distutils Version classes are deprecated", DeprecationWarning),
    ("The distutils package is deprecated", DeprecationWarning),
    (r"`layer\.apply` is deprecated", UserWarning),
)


def _is_news(record: logging.LogRecord) -> bool:
    return "to_float (from tensorflow.python.ops.math_ops) is deprecated" not in record.getMessage()


def _import() -> ModuleType:
    with quiet(), _stand_ins():
        normalization = importlib.import_module("tensorflow.python.layers.normalization")
        _ = normalization.BatchNormalization  # TensorFlow imports tf_keras.legacy_tf_layers when it is first asked for this
        return importlib.import_module("tensornets")


@contextmanager
def _stand_ins() -> Iterator[None]:
    legacy = "tf_keras.legacy_tf_layers"
    modules = {
        "tensorflow.python.keras.applications": ModuleType("applications"),
        "tensorflow.python.keras.applications.imagenet_utils": _module("imagenet_utils", decode_predictions=None),
        "tensorflow.python.keras.utils.data_utils": _module("data_utils", get_file=None),
        legacy: importlib.import_module("tf_keras.src.legacy_tf_layers"),
        f"{legacy}.normalization": importlib.import_module("tf_keras.src.legacy_tf_layers.normalization"),
    }
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(before)


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module


def _get_file(name: str, *_: Any, **__: Any) -> Path:
    """In place of Keras's `get_file(name, address, cache_subdir, file_hash)`: our catalogue has address and hash as well."""
    return _fetch.get()(name)


def _parse_weights(path: Path, move_rules: None = None) -> list[Array]:  # noqa: ARG001 - tensornets' own signature
    return read_npz(path)
