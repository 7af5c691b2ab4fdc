"""Import tensornets 0.4.6 with a current TensorFlow (2.21, with Keras 3).

tensornets imports three modules that no longer exist. Substitutes replace them during the import:

    tensorflow.python.keras.applications.imagenet_utils   with decode_predictions, which is never called
    tensorflow.python.keras.utils.data_utils              with get_file, which is replaced below
    tf_keras.legacy_tf_layers                             with tf_keras.src.legacy_tf_layers, its new name in the package tf-keras

Importing this module does not import tensornets; only `import_tensornets` does. It then removes the substitutes from `sys.modules`.
tensornets, tf_keras and the modules of TensorFlow that they import stay loaded.

Two functions of tensornets are replaced, so that its `pretrained()` neither downloads nor unpickles anything: `get_file` calls the current
`FetchFile` (see `fetching_with`), and `parse_weights` is `npz.read_npz`.
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
from weights.formats.tensornets.npz import read_npz
from weights.hub import fetch
from weights.hub.catalogue import entries

FetchFile = Callable[[str], Path]  # A file name of tensornets ("ref_yolo_v2_voc.npz") -> a verified local file.

_lock = threading.Lock()


def import_tensornets() -> ModuleType:
    """Import tensornets. Raises MissingExtra if it, TensorFlow or tf-keras is missing or incompatible."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # before TensorFlow is imported, as in detector.network.keras_model
    with _lock:
        try:
            tensornets = sys.modules.get("tensornets") or _import()
        except ImportError as error:
            raise MissingExtra(f"tensornets cannot be imported ({error}). Install the extra 'train'.") from error
        for module in ("tensornets.pretrained", "tensornets.utils"):  # each module has its own reference to the functions
            vars(sys.modules[module]).update(get_file=_get_file, parse_weights=lambda path, *_: read_npz(path))
    return tensornets


def fetch_from_catalogue(file: str) -> Path:
    """Return a file of tensornets from our catalogue, verified. It is pulled if it is not in the cache.

    Raises UnknownModel if the file is not in the catalogue, and FetchError and ModelFileError as `weights.hub.fetch.pull` does.
    """
    names = {entry.file: name for name, entry in entries().items() if entry.format == "tensornets"}
    if file not in names:
        raise UnknownModel(
            f"tensornets requests {file}, which is not in the catalogue and cannot be verified; the catalogue has {', '.join(names)}."
        )
    return fetch.pull(names[file])


_fetch_file: ContextVar[FetchFile] = ContextVar("fetch_file", default=fetch_from_catalogue)


@contextmanager
def fetching_with(fetch_file: FetchFile) -> Iterator[None]:
    """Within the block, tensornets gets its files from `fetch_file`."""
    token = _fetch_file.set(fetch_file)
    try:
        yield
    finally:
        _fetch_file.reset(token)


@contextmanager
def suppress_known_warnings() -> Iterator[None]:
    """Within the block, suppress the four known deprecation messages that tensornets causes."""
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_unknown_message)
    try:
        with warnings.catch_warnings():
            for message, category in _KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        logger.removeFilter(_is_unknown_message)


_KNOWN_WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    ("distutils Version classes are deprecated", DeprecationWarning),
    ("The distutils package is deprecated", DeprecationWarning),
    (r"`layer\.apply` is deprecated", UserWarning),
)


def _is_unknown_message(record: logging.LogRecord) -> bool:
    return "to_float (from tensorflow.python.ops.math_ops) is deprecated" not in record.getMessage()


def _import() -> ModuleType:
    with suppress_known_warnings(), _substitutes():
        normalization = importlib.import_module("tensorflow.python.layers.normalization")
        _ = normalization.BatchNormalization  # the first access makes TensorFlow import tf_keras.legacy_tf_layers
        return importlib.import_module("tensornets")


@contextmanager
def _substitutes() -> Iterator[None]:
    legacy = "tf_keras.legacy_tf_layers"
    modules = {
        "tensorflow.python.keras.applications": ModuleType("applications"),
        "tensorflow.python.keras.applications.imagenet_utils": _module("imagenet_utils", decode_predictions=None),
        "tensorflow.python.keras.utils.data_utils": _module("data_utils", get_file=None),
        legacy: importlib.import_module("tf_keras.src.legacy_tf_layers"),
        f"{legacy}.normalization": importlib.import_module("tf_keras.src.legacy_tf_layers.normalization"),
    }
    original = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(original)


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module


def _get_file(name: str, *_: Any, **__: Any) -> Path:
    """Replace Keras's `get_file(name, address, cache_subdir, file_hash)`. The catalogue has its own address and hash."""
    return _fetch_file.get()(name)
